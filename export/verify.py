"""Compare a bundle's engine with its FP32 reference: values, choices, accuracy clean and under the stored attacks.

Exits with 0 when every limit holds, 1 when one is broken, 2 when the comparison could not be made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export import runners
from export.quality import measure
from export.samples import Samples, load_samples
from export.summary import quality_table
from puvae_rt.command import run_command
from puvae_rt.contract import CLASSIFIER_FILE, ImageContract
from puvae_rt.errors import ContractError, DataError
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped, shipped_names
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Manifest, Quality
from puvae_rt.runtime.ort import Classifier

# The straightforward graph is seven times as much work; a tenth of the images keeps its gate under half a minute.
PLAIN_IMAGES = 100


def verify(folder: Path, manifest: Manifest, samples: Samples, device: str = "cpu") -> Quality:
    """The engine in `folder` against the reference graph beside it, on every image set.

    Args:
        folder: a bundle's files, already checked against the manifest.
        manifest: the bundle's.
        samples: images and labels; only the first 100 for a build without the exact passes.
        device: what runs the engine, a key of `runners.DEVICES`.
    Raises:
        BundleError: a graph that the runtime refuses.
    """
    built = runners.DEVICES[device](folder, manifest)
    classes = len(manifest.classes)
    classifier = None
    if CLASSIFIER_FILE in manifest.files:
        classifier = Classifier(folder / CLASSIFIER_FILE, manifest.contract, classes, available_cpus()).labels
    return measure(
        runners.reference(folder, manifest),
        built.runner,
        samples if manifest.passes else samples.head(PLAIN_IMAGES),
        manifest.precision,
        built.evidence,
        noise_classes=classes if manifest.sigma > 0 else 0,
        classifier=classifier,
    )


def find_samples(given: Path | None, model: str, contract: ImageContract, classes: int) -> Samples:
    """The test images given, or those shipped with a model of this name; DataError when there are none."""
    if given is not None:
        return load_samples(given, contract, classes)
    if model not in shipped_names():
        raise DataError(
            f"model {model!r} ships no test images to verify with; give --samples FILE.npz (images, labels, and "
            "attacked_<name>, all uint8, as export.assets writes it), or build with --no-verify"
        )
    return load_samples(shipped(model).path(SAMPLES_FILE), contract, classes)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.images is not None and args.images < 1:
        raise ContractError(f"--images {args.images}: expected at least 1")
    manifest = Manifest.read(args.bundle)
    manifest.verify_files(args.bundle)
    samples = find_samples(args.samples, manifest.model, manifest.contract, len(manifest.classes))
    quality = verify(args.bundle, manifest, samples.head(args.images or len(samples)), args.device)
    return {"bundle": str(args.bundle), "quality": asdict(quality)}


def show(result: dict[str, Any]) -> str:
    return f"{result['bundle']}\n{quality_table(Quality(**result['quality']))}"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m export.verify", description=__doc__)
    p.add_argument("bundle", type=Path, help="a folder that export.build wrote")
    p.add_argument("--samples", type=Path, help="test images, .npz (default: those shipped with the bundle's model)")
    p.add_argument("--images", type=int, help="use the first so many of each set (default: all)")
    p.add_argument("--device", choices=sorted(runners.DEVICES), default="cpu", help="what runs the engine")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    reports: list[dict[str, Any]] = []

    def work() -> dict[str, Any]:
        reports.append(run(args))
        return reports[0]

    code = run_command(work, show, args.json)
    return code or int(not reports[0]["quality"]["passed"])


if __name__ == "__main__":
    sys.exit(main())
