"""Pack a model for shipping: weights, graphs, classifiers and test images with stored attacks in one folder.

The attacks are on the first --classifier. Images whose terms do not allow it stay out (--no-images): builds then
take those of the dataset. With --keep only the purifier of a packed model is replaced.
"""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "pack")  # first: --help needs none of what follows

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.attacked_samples import Progress, attack
from export.classifier import ClassifierWeights, load_classifier, write_classifier
from export.output import check_output, output_folder
from export.samples import CLEAN, Samples, save_samples
from export.thin_classifier import check_rank, factored
from puvae_rt.attacks.radii import radii_of
from puvae_rt.errors import BuildError
from puvae_rt.files import sha256_of
from puvae_rt.models.weights import Weights, load_weights
from puvae_rt.runtime.assets import MODEL_FILE, MODEL_FORMAT, SAMPLES_FILE, WEIGHTS_FILE, read_model
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.runtime.machine import available_cpus

MAX_ASSET_BYTES = 8_000_000  # a file in git
CLASSIFIER_PREFIX, ACCURACY_PREFIX = "classifier_", "accuracy_"


@dataclass(frozen=True)
class Parts:
    """Trained weights that belong together."""

    puvae: Weights
    source: ClassifierWeights
    targets: tuple[ClassifierWeights, ...]  # the first is attacked, and the default behind the purifier

    @staticmethod
    def load(puvae: Path, source: Path, targets: Sequence[Path]) -> Parts:
        """The weights in these files; BuildError unless all are of one dataset, and of one architecture each."""
        parts = Parts(load_weights(puvae), load_classifier(source), tuple(map(load_classifier, targets)))
        expected = (parts.puvae.model, parts.puvae.classes, parts.puvae.contract)
        for path, weights in zip((source, *targets), (parts.source, *parts.targets), strict=True):
            if (weights.model, weights.classes, weights.contract) != expected:
                raise BuildError(
                    f"{path}: trained on {weights.model} {weights.contract.shape}, {puvae} on {parts.puvae.model} "
                    f"{parts.puvae.contract.shape}; expected weights of one dataset"
                )
        if len({weights.architecture for weights in parts.targets}) != len(targets):
            raise BuildError("--classifier: two classifiers of one architecture; give one of each")
        return parts

    def thin(self, images: Samples, rank: int, progress: Progress) -> Parts:
        """The same parts with the classifiers' large layers factored, by their activations on `images`."""
        floats = np.divide(images.sets[CLEAN], 255, dtype=np.float32)
        source, *targets = (factored(weights, floats, rank, progress) for weights in (self.source, *self.targets))
        return replace(self, source=source, targets=tuple(targets))

    @property
    def default_classifier(self) -> str:
        """The name of the classifier that is attacked, and that a purifier gets by default."""
        return f"{CLASSIFIER_PREFIX}{self.targets[0].architecture.lower()}"


def pack(
    parts: Parts,
    weights_file: Path,
    images: Samples,
    out: Path,
    progress: Progress,
    *,
    ship_images: bool = True,
    half: bool = False,
) -> dict[str, Any]:
    """Write the folder and make the attacks; returns what the command prints.

    Args:
        parts: what to pack.
        weights_file: of the purifier, copied as it is.
        images: clean test images.
        out: the folder, called as the model.
        progress: told of each attack.
        ship_images: with samples.npz; without, the images are measured on and left out.
        half: the classifiers' weights in FP16.
    Raises:
        BuildError: a file too large for git, or `out` not named after the model or not replaceable.
    """
    with _folder(out, parts.puvae) as folder:
        shutil.copyfile(weights_file, folder / WEIGHTS_FILE)
        write_classifier(folder / f"{CLASSIFIER_PREFIX}source.onnx", parts.source, half)
        for target in parts.targets:
            write_classifier(folder / f"{CLASSIFIER_PREFIX}{target.architecture.lower()}.onnx", target, half)
        _check_sizes(folder)  # before the attacks, which take minutes
        attacked = folder / f"{parts.default_classifier}.onnx"
        samples = attack(attacked, images, radii_of(parts.puvae.contract).epsilon, progress)
        if ship_images:
            save_samples(folder / SAMPLES_FILE, samples)
        write_model_file(folder, parts.puvae, parts.default_classifier)
        _check_sizes(folder)
        accuracies = {
            f"{ACCURACY_PREFIX}{path.stem}": classifier_accuracy(path, parts.puvae, samples)
            for path in sorted(folder.glob(f"{CLASSIFIER_PREFIX}*.onnx"))
        }
    return {"folder": str(out), "images": len(samples), **accuracies, "bytes": _sizes(out)}


def repack(weights_file: Path, packed: Path, out: Path) -> dict[str, Any]:
    """As `pack`, with the classifiers, images and attacks of the folder `packed`, byte for byte.

    Raises:
        BundleError: `packed` is no packed model, or is damaged.
        BuildError: the weights are of another dataset; or as `pack`.
    """
    model, weights = read_model(packed), load_weights(weights_file)
    if (weights.model, tuple(weights.classes), weights.contract) != (model.model, model.classes, model.contract):
        raise BuildError(
            f"{weights_file}: trained on {weights.model} {weights.contract.shape}, --keep {packed} is {model.model} "
            f"{model.contract.shape}; expected weights of its dataset"
        )
    kept = [model.path(name) for name in model.sha256 if name != WEIGHTS_FILE]
    with _folder(out, weights) as folder:
        for path in kept:
            shutil.copyfile(path, folder / path.name)
        shutil.copyfile(weights_file, folder / WEIGHTS_FILE)
        write_model_file(folder, weights, model.default_classifier)
        _check_sizes(folder)
    return {"folder": str(out), "kept": [path.name for path in kept], "bytes": _sizes(out)}


def check_request(parts: Parts, out: Path, rank: int) -> None:
    """Raises what `pack` and `Parts.thin` would: to be called before images are read and work is done."""
    check_folder(out, parts.puvae)
    for weights in (parts.source, *parts.targets):
        check_rank(weights, rank)


def check_folder(out: Path, weights: Weights) -> None:
    """Raises BuildError when `out` is not called as the model, or is not ours to replace."""
    if out.name != weights.model:
        raise BuildError(f"--out {out}: expected a folder called {weights.model!r}, by which the model is loaded")
    check_output(out, MODEL_FILE)


def _folder(out: Path, weights: Weights) -> AbstractContextManager[Path]:
    """`out`, which appears when it is whole."""
    check_folder(out, weights)
    return output_folder(out, MODEL_FILE)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def classifier_accuracy(classifier: Path, weights: Weights, samples: Samples) -> dict[str, float]:
    """The share of images of each set that the classifier gets right without a purifier."""
    model = Classifier(classifier, weights.contract, len(weights.classes), available_cpus())
    return {
        name: float((model.labels(np.divide(images, 255, dtype=np.float32)) == samples.labels).mean())
        for name, images in samples.sets.items()
    }


def write_model_file(folder: Path, weights: Weights, default_classifier: str) -> None:
    """Write the model.json of a packed folder, with the sha256 of every other file in it."""
    document = {
        "format": MODEL_FORMAT,
        "model": weights.model,
        "classes": weights.classes,
        "contract": asdict(weights.contract),
        "score": asdict(weights.score),
        "shortlist": weights.shortlist,
        "default_classifier": default_classifier,
        "attacks": {"on": default_classifier, "epsilon": radii_of(weights.contract).epsilon, "targeted": True},
        "sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    (folder / MODEL_FILE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


def _check_sizes(folder: Path) -> None:
    for path in folder.iterdir():
        if (size := path.stat().st_size) >= MAX_ASSET_BYTES:
            raise BuildError(
                f"{path.name}: {size:,} bytes, expected less than {MAX_ASSET_BYTES:,} to be kept in git; factor the "
                "purifier to low rank with `puvae low-rank`, store classifiers with --half and at a lower "
                "--classifier-rank, or ship fewer --images"
            )
