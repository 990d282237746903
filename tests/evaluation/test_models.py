"""Where an evaluation takes its systems from: a folder of trainings, or the models that ship."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from export import thin_classifier
from export.samples import load_samples
from puvae_rt import Purifier
from puvae_rt.defenses.defense_gan import Search
from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation.models import Folder, build
from puvae_rt.runtime import assets as runtime_assets
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped
from puvae_rt.runtime.cpu import Classifier
from tests.evaluation.conftest import Study
from tests.export import shipped as toy
from tests.tolerances import EXACT_ATOL

IMAGES = 24


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    model = shipped("mnist")
    samples = load_samples(model.path(SAMPLES_FILE), model.contract, len(model.classes))
    return np.divide(samples.sets["fgsm"][:IMAGES], 255, dtype=np.float32)


@pytest.mark.parametrize("architecture", ["A", "B"])
def test_a_shipped_classifier_is_the_deployed_one(tmp_path: Path, digits: np.ndarray, architecture: str) -> None:
    model = shipped("mnist")
    deployed = Classifier(model.classifier(f"classifier_{architecture.lower()}"), model.contract, 10, threads=1)
    module = Folder(tmp_path, "mnist").classifier(architecture)
    logits = module(torch.from_numpy(digits)).numpy()
    np.testing.assert_allclose(logits, deployed.logits(digits), rtol=EXACT_ATOL, atol=10 * EXACT_ATOL)


@pytest.mark.parametrize("large", [10**9, 10**6], ids=["half", "half-and-low-rank"])
def test_a_shipped_classifier_that_was_made_smaller_is_the_deployed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(thin_classifier, "LARGE", large)  # A's first layer has 1.6 million weights
    assets = toy.pack(tmp_path, rank=4, half=True).parent
    for function in (runtime_assets.shipped, runtime_assets.shipped_names):
        monkeypatch.setattr(function, "__defaults__", (assets,))
    model = runtime_assets.shipped(toy.NAME)
    images = np.divide(toy.clean_samples(6).sets["clean"], 255, dtype=np.float32)
    module = Folder(tmp_path / "runs", toy.NAME).classifier("A")
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert torch.linalg.matrix_rank(module[6].weight) == (4 if large == 10**6 else 128)
    deployed = Classifier(model.classifier(), model.contract, toy.CLASSES, threads=1)
    logits = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, deployed.logits(images), rtol=EXACT_ATOL, atol=10 * EXACT_ATOL)


def test_without_a_training_what_ships_is_evaluated(tmp_path: Path, digits: np.ndarray) -> None:
    system = build(Folder(tmp_path, "mnist"), "puvae_ours", "A", 0, Search(), 0)
    labels = system.defended.classify(torch.from_numpy(digits)).numpy()
    with Purifier.load("mnist") as purifier:
        assert purifier.classifier is not None
        np.testing.assert_array_equal(labels, purifier.classifier.labels(purifier.purify(digits).images))


def test_a_training_comes_before_what_ships_and_low_rank_before_the_full(tmp_path: Path) -> None:
    folder, weights = Folder(tmp_path, "mnist"), shipped("mnist").path("weights.safetensors")
    assert folder.weights("puvae_ours") == weights
    folder.path.mkdir()
    for name in ("puvae_ours", "puvae_ours_low_rank"):
        shutil.copy(weights, folder.path / f"{name}.safetensors")
        assert folder.weights("puvae_ours") == folder.path / f"{name}.safetensors"


def test_what_is_nowhere_is_named_with_the_command_that_trains_it(tmp_path: Path, bars: Study) -> None:
    with pytest.raises(CheckpointError, match=r"mnist/magnet.safetensors: no such file; train it .*train-baselines"):
        Folder(tmp_path, "mnist").weights("magnet")
    with pytest.raises(CheckpointError, match=r"puvae_paper.safetensors: no such file; train it .*`puvae train`"):
        Folder(tmp_path, "mnist").weights("puvae_paper")
    with pytest.raises(CheckpointError, match=r"classifier_b.safetensors: no such file"):
        Folder(bars.options.models, "bars").weights("classifier_b")
