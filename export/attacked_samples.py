"""Test images with the paper's attacks on them: white-box, targeted at a random other class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.samples import CLEAN, Labels, Samples
from puvae_rt.attacks.onnx_attack import ATTACKS, OnnxGradient
from puvae_rt.contract import ImageContract
from puvae_rt.data import Dataset, Split, load_dataset
from puvae_rt.errors import DataError
from puvae_rt.runtime.cpu import CHUNK
from puvae_rt.runtime.machine import available_cpus

SEED = 20190301  # of the choice of images and of the attacks' targets
Progress = Callable[[str], None]


def dataset_of(model: str, classes: tuple[str, ...], contract: ImageContract, data: Path | None) -> Dataset:
    """The dataset that `model` was trained on, as `load_dataset` finds it; DataError when it is another one."""
    dataset = load_dataset(model, data)
    if (dataset.classes, dataset.contract) != (classes, contract):
        raise DataError(
            f"dataset {model!r}: got {_described(dataset.classes, dataset.contract)}, expected those of the model, "
            f"{_described(classes, contract)}; give the dataset it was trained on with --data"
        )
    return dataset


def choose(images: Split, count: int) -> Samples:
    """`count` images at random, in their order: a folder tree's test images come sorted by class."""
    index = np.sort(np.random.default_rng(SEED).permutation(len(images))[:count])
    return Samples({CLEAN: images.images[index]}, images.labels[index])


def attack(classifier: Path, images: Samples, epsilon: float, progress: Progress) -> Samples:
    """The images with every attack on `classifier`, targeted at random other classes."""
    model = OnnxGradient(classifier, available_cpus())
    targets = random_targets(images.labels, model.classes)
    clean = np.divide(images.sets[CLEAN], 255, dtype=np.float32)
    sets = dict(images.sets)
    for name, craft in ATTACKS.items():
        progress(f"{name} on {classifier.stem}, epsilon {epsilon}, {len(images)} images")
        parts = [
            craft(model, clean[i : i + CHUNK], targets[i : i + CHUNK], epsilon, targeted=True)
            for i in range(0, len(clean), CHUNK)
        ]
        sets[name] = np.rint(np.concatenate(parts) * 255).astype(np.uint8)
    attacked = Samples(sets, images.labels)
    return replace(attacked, sha256=_digest(attacked))


def random_targets(labels: Labels, classes: int) -> Labels:
    """A class other than the true one for each label [N], uniformly drawn: [N]."""
    return (labels + np.random.default_rng(SEED).integers(1, classes, len(labels))) % classes


def _digest(samples: Samples) -> str:
    """The digest of labels and images, set by set: it names what was measured on where there was no file."""
    digest = hashlib.sha256(samples.labels.tobytes())
    for name, images in samples.sets.items():
        digest.update(name.encode() + images.tobytes())
    return digest.hexdigest()


def _described(classes: tuple[str, ...], contract: ImageContract) -> str:
    return f"{len(classes)} classes ({classes[0]} to {classes[-1]}) of {'x'.join(map(str, contract.shape))} images"
