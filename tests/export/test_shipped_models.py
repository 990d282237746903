"""Every model that ships: small files, a purifier and classifiers that run, and a defense where its images ship."""

from __future__ import annotations

import numpy as np
import pytest

from export.assets import MAX_ASSET_BYTES
from export.samples import CLEAN, load_samples
from puvae_rt import Purifier
from puvae_rt.contract import ImageContract
from puvae_rt.data import KNOWN
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped, shipped_names

GRAY, COLOUR = ImageContract(1, 28, 28), ImageContract(3, 32, 32)
CONTRACTS = {"mnist": GRAY, "fashion_mnist": GRAY, "traffic_signs": COLOUR, "cifar10": COLOUR}
IMAGES = 100
GAIN = 0.3  # accuracy that a purifier gives back under the stored attacks, at least


def test_the_models_that_ship_are_of_their_datasets_classes_and_shape() -> None:
    assert set(shipped_names()) == set(CONTRACTS)
    for name in CONTRACTS:
        model = shipped(name)
        assert (model.classes, model.contract) == (KNOWN[name].classes, CONTRACTS[name])


@pytest.mark.parametrize("name", shipped_names())
def test_its_files_are_small_and_whole(name: str) -> None:
    model = shipped(name)
    for file in model.sha256:
        assert model.path(file).stat().st_size < MAX_ASSET_BYTES, file


@pytest.mark.parametrize("name", shipped_names())
def test_it_purifies_and_classifies(name: str) -> None:
    model = shipped(name)
    images = np.random.default_rng(0).integers(0, 256, (3, *model.contract.shape), np.uint8)
    with Purifier.load(name) as purifier:
        assert purifier.classifier is not None
        purified = purifier.purify(images)
        labels = purifier.classifier.labels(purified.images)
    assert purified.images.shape == images.shape and purified.rmse.shape == (3, len(model.classes))
    assert ((purified.images >= 0) & (purified.images <= 1)).all() and (
        np.isfinite(purified.score).sum(axis=1) >= 2
    ).all()
    assert ((labels >= 0) & (labels < len(model.classes))).all()


@pytest.mark.parametrize("name", [name for name in shipped_names() if SAMPLES_FILE in shipped(name).sha256])
def test_attacked_images_are_recognised_again(name: str) -> None:
    model = shipped(name)
    samples = load_samples(model.path(SAMPLES_FILE), model.contract, len(model.classes)).head(IMAGES)
    with Purifier.load(name) as purifier:
        assert purifier.classifier is not None
        for attack, images in samples.sets.items():
            x = np.divide(images, 255, dtype=np.float32)
            bare, behind = (
                float((purifier.classifier.labels(part) == samples.labels).mean())
                for part in (x, purifier.purify(x).images)
            )
            if attack != CLEAN:
                assert behind > bare + GAIN, f"{attack}: {bare} without, {behind} behind the purifier"
