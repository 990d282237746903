"""Pack a model for shipping: weights, graphs, classifiers and test images with stored attacks in one folder.

The attacks are the paper's: white-box and targeted at a random other class, on the first --target classifier.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.atomic import whole_folder
from export.classifier import ClassifierWeights, load_classifier, write_classifier
from export.description import Description
from export.engine import for_cpu
from export.onnx_file import write_onnx
from export.passes import apply, exact_passes
from export.reference import straightforward
from export.samples import CLEAN, Labels, Samples, save_samples
from export.weights import Weights, load_weights
from puvae_rt.command import run_command
from puvae_rt.data import load_dataset
from puvae_rt.errors import BuildError, ContractError
from puvae_rt.robustness.onnx_attack import OnnxGradient, fgsm, ifgsm
from puvae_rt.robustness.radii import radii_of
from puvae_rt.runtime.assets import MODEL_FILE, MODEL_FORMAT, PUVAE_FILE, SAMPLES_FILE, WEIGHTS_FILE
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import sha256_of
from puvae_rt.runtime.ort import CHUNK, Classifier

MAX_ASSET_BYTES = 8_000_000  # a file in git
SEED = 20190301  # of the choice of images and of the attacks' targets
CLASSIFIER_PREFIX = "classifier_"
ATTACKS = {"fgsm": fgsm, "ifgsm": ifgsm}
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Parts:
    """Trained weights that belong together."""

    puvae: Weights
    source: ClassifierWeights
    targets: tuple[ClassifierWeights, ...]  # the first is attacked, and the default behind the purifier

    @staticmethod
    def load(puvae: Path, source: Path, targets: Sequence[Path]) -> Parts:
        parts = Parts(load_weights(puvae), load_classifier(source), tuple(map(load_classifier, targets)))
        expected = (parts.puvae.model, parts.puvae.classes, parts.puvae.contract)
        for path, weights in zip((source, *targets), (parts.source, *parts.targets), strict=True):
            if (weights.model, weights.classes, weights.contract) != expected:
                raise BuildError(
                    f"{path}: trained on {weights.model} {weights.contract.shape}, {puvae} on {parts.puvae.model} "
                    f"{parts.puvae.contract.shape}; expected weights of one dataset"
                )
        if len({weights.architecture for weights in parts.targets}) != len(targets):
            raise BuildError("--target: two classifiers of one architecture; give one of each")
        return parts

    @property
    def default_classifier(self) -> str:
        return f"{CLASSIFIER_PREFIX}{self.targets[0].architecture.lower()}"


def pack(parts: Parts, weights_file: Path, images: Samples, out: Path, progress: Progress) -> dict[str, Any]:
    """Writes the folder; `images` are clean, the attacks are made here. Returns what the command prints.

    Raises:
        BuildError: a file too large for git, or `out` not named after the model or not replaceable.
    """
    if out.name != parts.puvae.model:
        raise BuildError(f"--out {out}: expected a folder called {parts.puvae.model!r}, by which the model is loaded")
    with whole_folder(out, MODEL_FILE) as folder:
        shutil.copyfile(weights_file, folder / WEIGHTS_FILE)
        write_graph(folder / PUVAE_FILE, parts.puvae)
        write_classifier(folder / f"{CLASSIFIER_PREFIX}source.onnx", parts.source)
        for target in parts.targets:
            write_classifier(folder / f"{CLASSIFIER_PREFIX}{target.architecture.lower()}.onnx", target)
        attacked = folder / f"{parts.default_classifier}.onnx"
        samples = attack(attacked, images, radii_of(parts.puvae.contract).epsilon, progress)
        save_samples(folder / SAMPLES_FILE, samples)
        write_model_file(folder, parts)
        _check_sizes(folder)
        accuracy = classifier_accuracy(attacked, parts.puvae, samples)
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    return {
        "folder": str(out),
        "images": len(samples),
        f"accuracy_{parts.default_classifier}": accuracy,
        "bytes": sizes,
    }


def write_graph(path: Path, weights: Weights) -> None:
    """The deterministic FP32 graph after the exact passes and those for the CPU, which runs it as it is."""
    passes = exact_passes(weights.score, 0.0)
    description = Description(weights.model, weights.classes, weights.contract, weights.score, 0.0, passes)
    graph, description = for_cpu(apply(straightforward(weights, dense=False), passes), description)
    graph.prune()
    write_onnx(path, graph, description)


def choose(images: Samples, count: int) -> Samples:
    """`count` images at random: a folder tree's test images come sorted by class."""
    index = np.sort(np.random.default_rng(SEED).permutation(len(images))[:count])
    return Samples({CLEAN: images.sets[CLEAN][index]}, images.labels[index])


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
    return Samples(sets, images.labels)


def random_targets(labels: Labels, classes: int) -> Labels:
    """A class other than the truth for each label, uniformly."""
    return (labels + np.random.default_rng(SEED).integers(1, classes, len(labels))) % classes


def classifier_accuracy(classifier: Path, weights: Weights, samples: Samples) -> dict[str, float]:
    """Share of images of each set that the classifier gets right without a purifier."""
    model = Classifier(classifier, weights.contract, len(weights.classes), available_cpus())
    return {
        name: float((model.labels(np.divide(images, 255, dtype=np.float32)) == samples.labels).mean())
        for name, images in samples.sets.items()
    }


def write_model_file(folder: Path, parts: Parts) -> None:
    weights = parts.puvae
    document = {
        "format": MODEL_FORMAT,
        "model": weights.model,
        "classes": weights.classes,
        "contract": asdict(weights.contract) | {"range": [0, 1]},
        "score": asdict(weights.score),
        "default_classifier": parts.default_classifier,
        "attacks": {"on": parts.default_classifier, "epsilon": radii_of(weights.contract).epsilon, "targeted": True},
        "sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    (folder / MODEL_FILE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


def _check_sizes(folder: Path) -> None:
    for path in folder.iterdir():
        if (size := path.stat().st_size) >= MAX_ASSET_BYTES:
            raise BuildError(
                f"{path.name}: {size:,} bytes, expected less than {MAX_ASSET_BYTES:,} to be kept in git; factor the "
                "layers to low rank with `python -m calib.low_rank`, or ship fewer --samples"
            )


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.samples < 1:
        raise ContractError(f"--samples {args.samples}: expected at least one image")
    parts = Parts.load(args.puvae, args.source, args.target)
    dataset = load_dataset(parts.puvae.model, args.data)
    if (dataset.classes, dataset.contract) != (parts.puvae.classes, parts.puvae.contract):
        raise BuildError(
            f"--data: {len(dataset.classes)} classes of {dataset.contract.shape} images, {args.puvae} was trained on "
            f"{len(parts.puvae.classes)} of {parts.puvae.contract.shape}; give the dataset it was trained on"
        )
    images = choose(Samples({CLEAN: dataset.test.images}, dataset.test.labels), args.samples)
    return pack(parts, args.puvae, images, args.out, lambda line: print(line, file=sys.stderr))


def show(result: dict[str, Any]) -> str:
    accuracies = next(value for key, value in result.items() if key.startswith("accuracy_"))
    return "\n".join(
        [
            f"{result['folder']}: {result['images']} test images",
            *(f"  {size:>9,} bytes  {name}" for name, size in result["bytes"].items()),
            "  accuracy without a purifier: " + ", ".join(f"{k} {100 * v:.1f}%" for k, v in accuracies.items()),
        ]
    )


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m export.assets", description=__doc__)
    p.add_argument("--puvae", type=Path, required=True, help="weights of the purifier, .safetensors")
    p.add_argument("--source", type=Path, required=True, help="the classifier M_s it was trained with, .safetensors")
    p.add_argument("--target", type=Path, nargs="+", required=True, help="classifiers to defend; the first is attacked")
    p.add_argument("--samples", type=int, default=1000, help="test images to ship (default: %(default)s)")
    p.add_argument("--data", type=Path, help="the dataset (default: PUVAE_DATA, else the download)")
    p.add_argument("--out", type=Path, required=True, help="the folder, called as the model: puvae_rt/assets/mnist")
    p.add_argument("--json", action="store_true", help="print the summary as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_command(lambda: run(args), show, args.json)


if __name__ == "__main__":
    sys.exit(main())
