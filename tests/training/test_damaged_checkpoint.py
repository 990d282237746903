"""A training goes on from a sound checkpoint only; the network is the smallest there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from puvae_rt.contract import ImageContract
from puvae_rt.data import Split
from puvae_rt.errors import CheckpointError
from puvae_rt.models.magnet import reformer
from puvae_rt.schema import seal
from puvae_rt.training.baselines import ReformerTask
from puvae_rt.training.checkpoint import load_tensors, save_tensors
from puvae_rt.training.loop import Metrics, fit
from puvae_rt.training.recipes import Schedule

CONTRACT = ImageContract(1, 8, 8)
SCHEDULE = Schedule(epochs=1, batch=4)
OLD_KEYS = ("identity", "step", "curve")  # of checkpoints from before they were sealed
Tensors = dict[str, torch.Tensor]


def train(checkpoint: Path, stop_after: int | None = None) -> list[Metrics]:
    images = np.random.default_rng(0).integers(0, 256, (16, *CONTRACT.shape), dtype=np.uint8)
    split = Split(images, np.zeros(16, np.int64))
    task = ReformerTask(reformer(CONTRACT), CONTRACT)
    return fit(task, split, SCHEDULE, {"dataset": "toy"}, checkpoint, stop_after=stop_after)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "c.safetensors"
    train(path, stop_after=1)
    return path


def change(path: Path, damage: Callable[[Tensors, dict[str, Any]], tuple[Tensors, Any]]) -> None:
    save_tensors(path, *damage(*load_tensors(path)))


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def test_one_from_before_they_were_sealed_is_read(checkpoint: Path) -> None:
    change(checkpoint, lambda t, m: (t, {key: m[key] for key in OLD_KEYS}))
    assert train(checkpoint)


def test_one_of_a_run_that_diverged_is_read(checkpoint: Path) -> None:
    """Its curve holds NaN, which is no JSON."""
    change(checkpoint, lambda t, m: (t, seal(m | {"curve": [{"step": 0, "loss": float("nan")}]})))
    assert np.isnan(train(checkpoint)[0]["loss"])


MOMENT = "optimizer.0.exp_avg"
# id: (what is done to tensors and header, what the message says)
DAMAGES: dict[str, tuple[Callable[[Tensors, dict[str, Any]], tuple[Tensors, Any]], str]] = {
    "header-a-number": (lambda t, m: (t, 5), "got 5, expected an object"),
    "header-a-list": (lambda t, m: (t, []), "got a list of 0, expected an object"),
    "no-identity": (lambda t, m: (t, without(m, "identity")), "identity: got nothing, expected an object"),
    "identity-a-text": (lambda t, m: (t, m | {"identity": "x"}), "identity: got 'x', expected an object"),
    "step-a-text": (lambda t, m: (t, m | {"step": "1"}), "step: got '1', expected an integer"),
    "another-step": (lambda t, m: (t, m | {"step": 2}), "changed after it was written"),
    "curve": (lambda t, m: (t, m | {"curve": [1]}), r"curve\[0\]: got 1, expected an object"),
    "tensor-renamed": (lambda t, m: (without(t, MOMENT) | {f"{MOMENT}x": t[MOMENT]}, m), "holds other tensors"),
    "tensor-cut": (lambda t, m: (t | {MOMENT: t[MOMENT][:1].clone()}, m), "holds other tensors"),
    "tensor-missing": (lambda t, m: (without(t, "rng"), m), "holds other tensors"),
    "old-without-a-tensor": (
        lambda t, m: (without(t, "rng"), {key: m[key] for key in OLD_KEYS}),
        "do not fit this training",
    ),
}


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_one_is_refused(
    checkpoint: Path, damage: Callable[[Tensors, dict[str, Any]], tuple[Tensors, Any]], message: str
) -> None:
    change(checkpoint, damage)
    with pytest.raises(CheckpointError, match=rf"c.safetensors: .*{message}.*; delete it to start afresh"):
        train(checkpoint)
