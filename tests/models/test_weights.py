"""Checkpoints: the network that PyTorch trained is the one exported, and damaged files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from puvae_rt.contract import Score
from puvae_rt.data import Dataset, Split
from puvae_rt.errors import BuildError
from puvae_rt.graph.reference import straightforward
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from puvae_rt.models.weights import load_weights
from puvae_rt.training.artefacts import save_puvae
from tests.export.toy import COLOR, GRAY, feeds, header, random_weights, run, save_weights
from tests.tolerances import EXACT_ATOL, EXACT_KL_RELATIVE

SCORE = Score(tau=0.3, kl_weight=0.5)


def dataset(classes: int) -> Dataset:
    split = Split(np.zeros((1, *COLOR.shape), np.uint8), np.zeros(1, np.int64))
    return Dataset("signs", tuple(f"sign {i}" for i in range(classes)), split, split, split)


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "normalized"])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_the_exported_network_is_the_trained_one(tmp_path: Path, sigma: float, normalized: bool) -> None:
    torch.manual_seed(0)
    model = PuVAE(COLOR, 4, Ranks(fc1=8), normalized).eval()
    save_puvae(tmp_path / "puvae.safetensors", model, dataset(4), SCORE, {"recipe": {"name": "x"}})
    weights = load_weights(tmp_path / "puvae.safetensors")
    assert (weights.model, weights.classes[3], weights.contract) == ("signs", "sign 3", COLOR)
    assert (weights.score, weights.ranks) == (SCORE, Ranks(fc1=8, fc2=None))
    given = feeds(weights, 2, sigma)
    got = run(stop_at_candidates(straightforward(weights, sigma, dense=False), COLOR, SCORE, 4), given)
    noise = torch.from_numpy(given["noise"]) if sigma else None
    with torch.no_grad():
        candidates, kl = model.project(torch.from_numpy(given["image"]), noise, sigma)
    np.testing.assert_allclose(got["candidates"], candidates.numpy(), rtol=0, atol=EXACT_ATOL)
    np.testing.assert_allclose(got["bias"], SCORE.kl_weight * kl.numpy(), rtol=EXACT_KL_RELATIVE, atol=EXACT_ATOL)


def test_round_trip(tmp_path: Path) -> None:
    weights = random_weights(GRAY, 3, Ranks(fc1=8, fc2=4), SCORE)
    loaded = load_weights(save_weights(tmp_path / "w.safetensors", weights))
    assert loaded.tensors.keys() == weights.tensors.keys()
    for name, value in weights.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], value)
    assert len(loaded.sha256) == 64


HEADERS = {
    "other-format": ({"format": 2}, r"format 2, this version reads 1"),
    "classifier": ({"kind": "classifier"}, r"kind: got 'classifier', expected puvae"),
    "one-class": ({"classes": ["a"]}, r"classes: got a list of 1, expected 2 to 1000"),
    "path-as-name": ({"model": "../x"}, r"model: got '../x', expected a name"),
    "range": (
        {"contract": {"channels": 1, "height": 28, "width": 28, "range": [0, 255]}},
        r"contract.range\[1\]: got 255, expected 1;",
    ),
    "odd-size": ({"contract": {"channels": 1, "height": 30, "width": 30, "range": [0, 1]}}, r"30x30: PuVAE takes"),
    "two-channels": ({"contract": {"channels": 2, "height": 28, "width": 28, "range": [0, 1]}}, r"channels=2"),
    "huge-rank": ({"ranks": {"fc1": 10**9, "fc2": None}}, r"fc1: got 1000000000, expected an integer from 1"),
    "negative-tau": ({"score": {"tau": -1, "kl_weight": 0}}, r"score: tau=-1.0: expected 0 <= tau < 1"),
    "other-rank": (
        {"ranks": {"fc1": 9, "fc2": None}},
        r"fc1_image.0.weight: got F32 .*, expected F32 or F16 \(9, 25088\)",
    ),
    "more-classes": ({"classes": ["a", "b", "c", "d"]}, r"decoder_fc.weight: got .*, expected F32 or F16 \(512, 36\)"),
}


@pytest.mark.parametrize("changes, message", HEADERS.values(), ids=HEADERS)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = save_weights(tmp_path / "w.safetensors", random_weights(), **changes)
    with pytest.raises(BuildError, match=message) as caught:
        load_weights(path)
    assert str(path) in str(caught.value) or "28" in str(caught.value)


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    weights, path = random_weights(), tmp_path / "w.safetensors"
    tensors = dict(weights.tensors)
    cases = {
        r"fc3.bias holds NaN or infinity": tensors | {"fc3.bias": np.full(64, np.nan, np.float32)},
        r"missing: \['fc3.bias'\]": {name: value for name, value in tensors.items() if name != "fc3.bias"},
        r"unexpected: \['extra'\]": tensors | {"extra": np.zeros(1, np.float32)},
        r"fc3.bias: got F64": tensors | {"fc3.bias": np.zeros(64, np.float64)},
        r"fc3.bias: got F32 \(63,\), expected F32 or F16 \(64,\)": tensors | {"fc3.bias": np.zeros(63, np.float32)},
    }
    for message, changed in cases.items():
        save_file(changed, path, header(weights))
        with pytest.raises(BuildError, match=message):
            load_weights(path)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    good = save_weights(tmp_path / "good.safetensors", random_weights()).read_bytes()
    contents = {
        "empty": b"",
        "text": b"not a checkpoint at all",
        "truncated": good[: len(good) // 2],
        "giant-header": (2**40).to_bytes(8, "little") + b"{}",
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BuildError, match=r"not readable as weights"):
            load_weights(path)
    with pytest.raises(BuildError, match=r"absent: no such file; .*`puvae train`"):
        load_weights(tmp_path / "absent")
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "foreign", {"format": "pt"})
    with pytest.raises(BuildError, match=r"no 'puvae' metadata"):
        load_weights(tmp_path / "foreign")
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "deep", {"puvae": json.dumps([1])})
    with pytest.raises(BuildError, match=r"got a list of 1, expected an object"):
        load_weights(tmp_path / "deep")
