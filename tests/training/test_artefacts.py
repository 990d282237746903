"""Trained weights read back: headers, shapes, types and numbers are checked before anything is made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from puvae_rt.contract import ImageContract
from puvae_rt.errors import CheckpointError
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.gan import Generator
from puvae_rt.models.magnet import reformer
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from puvae_rt.training.artefacts import load_classifier, load_generator, load_puvae, load_reformer

GRAY = ImageContract(1, 28, 28)
HEADER = {"format": 1, "model": "toy", "classes": ["a", "b"], "contract": asdict(GRAY)}
PUVAE = HEADER | {"kind": "puvae", "ranks": Ranks(4, 4, 4)._asdict(), "score": {"tau": 0.1, "kl_weight": 0.3}}
LOADERS: dict[str, tuple[Callable[[Path], Any], Callable[[], torch.nn.Module], dict[str, Any]]] = {
    "puvae": (load_puvae, lambda: PuVAE(GRAY, 2, Ranks(4, 4, 4)), PUVAE),
    "classifier": (load_classifier, lambda: classifier("A", GRAY, 2), HEADER | {"architecture": "A"}),
    "reformer": (load_reformer, lambda: reformer(GRAY), HEADER),
    "generator": (load_generator, lambda: Generator(GRAY), HEADER),
}


def save(path: Path, kind: str, tensors: dict[str, torch.Tensor] | None = None, /, **changes: object) -> Path:
    _, make, header = LOADERS[kind]
    document = {key: value for key, value in (header | {"kind": kind} | changes).items() if value != "absent"}
    found = make().state_dict() if tensors is None else tensors
    save_file({name: value.contiguous() for name, value in found.items()}, path, {"puvae": json.dumps(document)})
    return path


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_weights_come_back_in_fp32(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    load, make, _ = LOADERS[kind]
    stored = {name: value.to(dtype) for name, value in make().state_dict().items()}
    model, meta = load(save(tmp_path / "w.safetensors", kind, stored, epochs=3))
    assert meta["epochs"] == 3 and not model.training
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, stored[name].float(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, kind: str, wrong: float) -> None:
    load, make, _ = LOADERS[kind]
    tensors = make().state_dict()
    last = list(tensors)[-1]
    tensors[last].flatten()[-1:].fill_(wrong)
    with pytest.raises(CheckpointError, match=rf"{last} holds NaN or infinity, expected finite numbers"):
        load(save(tmp_path / "w.safetensors", kind, tensors))


@pytest.mark.parametrize("kind", LOADERS)
def test_weights_of_another_type_are_refused(tmp_path: Path, kind: str) -> None:
    load, make, _ = LOADERS[kind]
    tensors = {name: value.double() for name, value in make().state_dict().items()}
    with pytest.raises(CheckpointError, match=r"got torch.float64, expected FP32 or FP16"):
        load(save(tmp_path / "w.safetensors", kind, tensors))


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}], ids=["none", "foreign"])
@pytest.mark.parametrize("kind", LOADERS)
def test_a_foreign_file_is_no_key_error(tmp_path: Path, kind: str, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match=r"foreign.safetensors: no 'puvae' metadata; .* `puvae train`"):
        LOADERS[kind][0](path)


DAMAGES: dict[str, tuple[str, dict[str, object], str]] = {
    "format": ("puvae", {"format": 2}, "format 2, this version reads 1"),
    "kind": ("puvae", {"kind": "classifier"}, "kind: got 'classifier', expected puvae"),
    "no-classes": ("puvae", {"classes": "absent"}, "classes: got nothing, expected 2 to 1000 names"),
    "classes-a-text": ("puvae", {"classes": "0123456789"}, "classes: got '0123456789', expected 2 to 1000 names"),
    "no-contract": ("puvae", {"contract": "absent"}, "contract: got nothing, expected an object"),
    "no-ranks": ("puvae", {"ranks": "absent"}, "ranks: got nothing, expected an object"),
    "unknown-rank": ("puvae", {"ranks": {"x": 1}}, "ranks: name: got 'x', expected one of fc1, fc2, trunk"),
    "rank-a-text": ("puvae", {"ranks": {"fc1": "a"}}, "ranks.fc1: got 'a', expected an integer"),
    "rank-too-large": ("puvae", {"ranks": {"fc1": 1024}}, "do not fit their description"),
    "other-rank": ("puvae", {"ranks": {"fc1": 5, "fc2": 4, "trunk": 4}}, "do not fit their description"),
    "odd-side": ("puvae", {"contract": {"channels": 1, "height": 99, "width": 99}}, "99x99: PuVAE takes"),
    "unknown-architecture": ("classifier", {"architecture": "E"}, "architecture: got 'E', expected one of A, B, C, D"),
    "oblong": ("classifier", {"contract": {"channels": 1, "height": 28, "width": 32}}, "28x32: classifiers"),
    "generator-side": ("generator", {"contract": {"channels": 1, "height": 64, "width": 64}}, "64x64: Defense-GAN"),
    "more-channels": ("reformer", {"contract": {"channels": 3, "height": 28, "width": 28}}, "do not fit their"),
}


@pytest.mark.parametrize("kind, changes, message", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_header_that_does_not_fit_is_refused(
    tmp_path: Path, kind: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        LOADERS[kind][0](save(tmp_path / "w.safetensors", kind, **changes))
    assert str(tmp_path) in str(caught.value)


def test_a_description_that_does_not_fit_asks_for_no_memory(tmp_path: Path) -> None:
    """Classifier A on images of 4096x4096 would have 137 billion weights."""
    contract = {"channels": 1, "height": 4096, "width": 4096}
    path = save(tmp_path / "w.safetensors", "classifier", contract=contract)
    with pytest.raises(CheckpointError, match="do not fit their description"):
        load_classifier(path)


def test_factors_whose_product_would_not_fit_are_not_multiplied(tmp_path: Path) -> None:
    tensors = classifier("A", GRAY, 2).state_dict()
    name = next(name for name, value in tensors.items() if value.ndim == 2)
    layer = name.removesuffix(".weight")
    bias = tensors.pop(f"{layer}.bias")
    del tensors[name]
    wide = 1 << 20  # the product would take 4 TiB
    tensors |= {f"{layer}.0.weight": torch.zeros(1, wide), f"{layer}.1.weight": torch.zeros(wide, 1)}
    path = save(tmp_path / "w.safetensors", "classifier", tensors | {f"{layer}.1.bias": bias})
    with pytest.raises(CheckpointError, match="do not fit their description"):
        load_classifier(path)
