"""A tiny shipped model: random PuVAE and classifier weights, packed as export.assets packs real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from export import assets
from export.classifier import ClassifierWeights, expected_shapes
from export.samples import CLEAN, Samples
from export.settings import RANK
from puvae_rt.contract import ImageContract, Score
from puvae_rt.models.spec import Ranks
from puvae_rt.models.weights import Weights
from tests.export.toy import GRAY, RANKING, header, random_weights, save_weights

NAME, CLASSES = "toy", 3
SCORE = Score(tau=0.1)


def toy_weights(seed: int = 0) -> Weights:
    return random_weights(GRAY, CLASSES, Ranks(fc1=4, fc2=4), SCORE, seed)


def weights_with_prior(shortlist: int | None = 2) -> Weights:
    """The same with a prior, whose weight in the score is small enough that the distance still chooses."""
    score = Score(SCORE.tau, prior_weight=1.0)
    return random_weights(GRAY, CLASSES, Ranks(fc1=4, fc2=4), score, prior=RANKING, shortlist=shortlist)


def classifier_weights(weights: Weights, architecture: str, seed: int = 0) -> ClassifierWeights:
    described = ClassifierWeights(weights.model, weights.classes, weights.contract, architecture, {})
    random = np.random.default_rng(seed)
    tensors = {
        name: random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / max(np.prod(shape[1:]), 50)))
        for name, shape in expected_shapes(described).items()
    }
    return ClassifierWeights(**(vars(described) | {"tensors": tensors}))


def save_classifier(path: Path, weights: Weights, architecture: str, seed: int = 0) -> Path:
    made = classifier_weights(weights, architecture, seed)
    save_file(dict(made.tensors), path, header(weights, kind="classifier", architecture=architecture))
    return path


def checkpoints(folder: Path, weights: Weights | None = None) -> tuple[Path, Path, Path]:
    """Files of the purifier, its source classifier and one target, as puvae_rt.train leaves them."""
    weights = weights or toy_weights()
    return (
        save_weights(folder / "puvae.safetensors", weights),
        save_classifier(folder / "source.safetensors", weights, "B", 1),
        save_classifier(folder / "a.safetensors", weights, "A", 2),
    )


def clean_samples(count: int) -> Samples:
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (count, *GRAY.shape), np.uint8)
    return Samples({CLEAN: images}, random.integers(0, CLASSES, count))


def dataset(path: Path, contract: ImageContract = GRAY, classes: int = CLASSES) -> Path:
    """An .npz of random images that the model might have been trained on: 12 of each split."""
    random = np.random.default_rng(6)
    images = random.integers(0, 256, (12, contract.height, contract.width, contract.channels), np.uint8)
    labels = np.arange(12) % classes
    names = [f"class {i}" for i in range(classes)]
    np.savez(path, x_train=images, y_train=labels, x_test=images[::-1], y_test=labels[::-1], class_names=names)
    return path


def pack(folder: Path, count: int = 6, rank: int = RANK, weights: Weights | None = None, **options: bool) -> Path:
    """folder/assets/toy, with its checkpoints in `folder`; `options` of export.assets.pack."""
    puvae, source, target = checkpoints(folder, weights)
    images, out = clean_samples(count), folder / "assets" / NAME
    parts = assets.Parts.load(puvae, source, [target]).thin(images, rank, lambda line: None)
    assets.pack(parts, puvae, images, out, lambda line: None, **options)
    return out
