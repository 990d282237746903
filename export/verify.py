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

import numpy as np

from export import on_device, runners
from export.attacked_samples import Progress, attack, choose, dataset_of
from export.quality import measure
from export.runners import Built
from export.samples import CLEAN, Samples, load_samples
from export.summary import quality_table
from puvae_rt.attacks.radii import radii_of
from puvae_rt.cli.command import run_command
from puvae_rt.contract import CLASSIFIER_FILE
from puvae_rt.data import DATA_VARIABLE
from puvae_rt.device import LAYERS
from puvae_rt.errors import ContractError, DataError
from puvae_rt.files import refuse_overwrite, write_json
from puvae_rt.graph.description import Description
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped, shipped_names
from puvae_rt.runtime.bundle import CPU
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Manifest, Quality

DEVICE_HELP = (
    f"what runs the engine: {CPU}, {on_device.GPU} (the first one), {', '.join(LAYERS)}, or a layer with its GPU's "
    "number (cuda:1); a GPU adds kernels, graph replay and latency to the report, emulated tries their logic "
    "(default: %(default)s)"
)
DATA_HELP = (
    f"the dataset whose test images verify a model that ships none (default: {DATA_VARIABLE}, else the download); "
    "given for another model, it is taken in place of those that ship"
)
# The straightforward graph is seven times as much work; a tenth of the images keeps its gate under half a minute.
PLAIN_IMAGES = 100
DATASET_IMAGES = 200  # of a model that ships none: their attacks are made at every build


def verify(
    folder: Path,
    manifest: Manifest,
    samples: Samples,
    built: Built | None = None,
    classifier: Classifier | None = None,
) -> Quality:
    """The quality of the engine in `folder` against the reference graph beside it, on every image set.

    Args:
        folder: a bundle's files, already checked against the manifest.
        manifest: the bundle's.
        samples: images and labels; only the first 100 for a build without the exact passes.
        built: what runs the engine; None is the CPU.
        classifier: the bundle's; None opens it.
    Raises:
        BundleError: a graph that the runtime refuses.
    """
    built = built or runners.on_cpu(folder, manifest)
    classes = len(manifest.classes)
    if classifier is None and CLASSIFIER_FILE in manifest.files:
        classifier = Classifier(folder / CLASSIFIER_FILE, manifest.contract, classes, available_cpus())
    return measure(
        runners.reference(folder, manifest),
        built.runner,
        samples if manifest.passes else samples.head(PLAIN_IMAGES),
        manifest.precision,
        built.evidence,
        noise_classes=classes if manifest.sigma > 0 else 0,
        classifier=None if classifier is None else classifier.labels,
    )


def find_samples(
    given: Path | None, data: Path | None, model: Description | Manifest, progress: Progress = lambda line: None
) -> Samples:
    """The test images given, or those shipped with a model of this name, or else 200 of its dataset.

    Args:
        given: an .npz that export.assets wrote.
        data: the dataset to take images of, even where others ship; attacked as those that ship are.
        model: what is verified.
        progress: told of each attack made here.
    Raises:
        DataError: there are none, or they are damaged or of another model.
    """
    if given is not None:
        return load_samples(given, model.contract, len(model.classes))
    if model.model not in shipped_names():
        raise DataError(
            f"model {model.model!r} ships no test images to verify with, and no classifier to attack others on; give "
            "--samples FILE.npz (images, labels, and attacked_<name>, all uint8, as export.assets writes it), or build "
            "with --no-verify"
        )
    known = shipped(model.model)
    if data is None and SAMPLES_FILE in known.sha256:
        return load_samples(known.path(SAMPLES_FILE), model.contract, len(model.classes))
    try:
        dataset = dataset_of(model.model, model.classes, model.contract, data)
    except DataError as error:
        raise DataError(
            f"no test images to verify {model.model!r} with: {error}; or set {DATA_VARIABLE} to the folder that holds "
            "the dataset, or give --samples FILE.npz"
        ) from error
    return attack(known.classifier(), choose(dataset.test, DATASET_IMAGES), radii_of(model.contract).epsilon, progress)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.images is not None and args.images < 1:
        raise ContractError(f"--images {args.images}: expected at least 1")
    inputs = {"--samples": args.samples, "--data": args.data}
    refuse_overwrite({"--report": args.report}, inputs, {"BUNDLE": args.bundle})
    manifest = Manifest.read(args.bundle)
    manifest.verify_files(args.bundle)
    samples = find_samples(args.samples, args.data, manifest, lambda line: print(line, file=sys.stderr))
    samples = samples.head(args.images or len(samples))
    if args.device == CPU:
        return {"bundle": str(args.bundle), "quality": asdict(verify(args.bundle, manifest, samples))}
    with on_device.opened(args.bundle, manifest, args.device) as (device, engine):
        quality = verify(args.bundle, manifest, samples, Built(engine.run, device.evidence))
        images = np.divide(samples.sets[CLEAN], 255, dtype=np.float32)
        section = on_device.report(args.bundle, manifest, device, engine, images)
    return {"bundle": str(args.bundle), "quality": asdict(quality), "device": section}


def passed(result: dict[str, Any]) -> bool:
    return bool(result["quality"]["passed"]) and ("device" not in result or on_device.passed(result["device"]))


def show(result: dict[str, Any]) -> str:
    lines = [result["bundle"], quality_table(Quality(**result["quality"]))]
    return "\n".join(lines + ([on_device.show(result["device"])] if "device" in result else []))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m export.verify", description=__doc__)
    p.add_argument("bundle", type=Path, help="a folder that export.build wrote")
    images = p.add_mutually_exclusive_group()
    images.add_argument("--samples", type=Path, help="test images, .npz (default: those shipped with the model)")
    images.add_argument("--data", type=Path, help=DATA_HELP)
    p.add_argument("--images", type=int, help="use the first so many of each set (default: all)")
    p.add_argument("--device", type=device_name, default=CPU, metavar="DEVICE", help=DEVICE_HELP)
    p.add_argument("--report", type=Path, help="write the report, to be attached to an issue, to this file")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    return p


def device_name(text: str) -> str:
    layer, _, number = text.partition(":")
    if text in (CPU, on_device.GPU) or (layer in LAYERS and (number.isdecimal() or text == layer)):
        return text
    names = ", ".join((CPU, on_device.GPU, *LAYERS))
    raise argparse.ArgumentTypeError(f"got {text!r}, expected one of {names}, a layer with a number as in cuda:1")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    reports: list[dict[str, Any]] = []

    def work() -> dict[str, Any]:
        reports.append(run(args))
        if args.report:
            write_json(args.report, reports[0])
        return reports[0]

    code = run_command(work, show, args.json)
    return code or int(not passed(reports[0]))


if __name__ == "__main__":
    sys.exit(main())
