"""A training that is stopped and started again reaches the same weights bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from puvae_rt.contract import ImageContract
from puvae_rt.data import Split
from puvae_rt.errors import CheckpointError, DataError
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from puvae_rt.training.loop import fit
from puvae_rt.training.recipes import OURS, Recipe, Schedule
from puvae_rt.training.tasks import PuvaeTask

SHAPE = ImageContract(1, 28, 28)
SCHEDULE = Schedule(epochs=2, batch=8, replays=2)
AUGMENTED = replace(OURS, augmented=True, augmented_source=True)
BF16_DIRECTION = 0.5  # Adam follows signs: small gradients that bfloat16 turns round weigh as much as large ones


def tiny_split() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (32, 1, 28, 28), dtype=np.uint8), rng.integers(0, 10, 32))


def task(recipe: Recipe = OURS) -> PuvaeTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PuvaeTask(PuVAE(SHAPE, 10, Ranks(4, 4)), classifier("A", SHAPE, 10), recipe)


def weights(of: PuvaeTask) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in of.module.state_dict().items()}


@pytest.mark.parametrize(
    ("stop_after", "bf16", "recipe"),
    [(1, False, OURS), (3, False, OURS), (4, False, OURS), (7, False, OURS), (3, True, OURS), (3, False, AUGMENTED)],
)
def test_resumed_training_is_bit_exact(tmp_path: Path, stop_after: int, bf16: bool, recipe: Recipe) -> None:
    schedule = replace(SCHEDULE, bf16=bf16)
    whole = task(recipe)
    curve = fit(whole, tiny_split(), schedule, {"dataset": "tiny"})
    checkpoint = tmp_path / "c.safetensors"
    fit(task(recipe), tiny_split(), schedule, {"dataset": "tiny"}, checkpoint, stop_after=stop_after)
    resumed = task(recipe)
    resumed_curve = fit(resumed, tiny_split(), schedule, {"dataset": "tiny"}, checkpoint)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed.module.state_dict()[name]), name
    assert curve == resumed_curve


def test_bfloat16_trains_towards_the_same_weights() -> None:
    exact, rounded = task(), task()
    start = weights(exact)
    fit(exact, tiny_split(), SCHEDULE, {})
    curve = fit(rounded, tiny_split(), replace(SCHEDULE, bf16=True), {})
    assert all(value.dtype == torch.float32 for value in weights(rounded).values())
    moved = [(value - start[name]).flatten() for name, value in weights(exact).items()]
    also = [(value - start[name]).flatten() for name, value in weights(rounded).items()]
    assert torch.cosine_similarity(torch.cat(moved), torch.cat(also), dim=0) > BF16_DIRECTION
    assert all(np.isfinite(value) for point in curve for value in point.values())


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(DataError, match="32 training images, fewer than a mini-batch of 64"):
        fit(task(), tiny_split(), Schedule(epochs=1, batch=64), {})


def test_training_leaves_the_callers_random_state_alone() -> None:
    before = torch.get_rng_state()
    fit(task(), tiny_split(), SCHEDULE, {}, stop_after=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    fit(task(), tiny_split(), SCHEDULE, {"dataset": "tiny"}, checkpoint, stop_after=1)
    with pytest.raises(CheckpointError, match="other dataset"):
        fit(task(), tiny_split(), SCHEDULE, {"dataset": "another"}, checkpoint)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    fit(task(), tiny_split(), SCHEDULE, {}, checkpoint, stop_after=1)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not readable as weights"):
        fit(task(), tiny_split(), SCHEDULE, {}, checkpoint)
