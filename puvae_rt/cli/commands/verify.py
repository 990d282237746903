"""Compare a bundle's engine with its FP32 reference: values, choices, accuracy clean and under the stored attacks."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, WRITTEN, option
from puvae_rt.contract import CLASSIFIER_FILE
from puvae_rt.device import LAYERS
from puvae_rt.files import write_json
from puvae_rt.runtime.bundle import CPU
from puvae_rt.runtime.manifest import Manifest

GPU = "gpu"


def device_name(text: str) -> str:
    """`text` where it names a device."""
    layer, _, number = text.partition(":")
    if text in (CPU, GPU) or (layer in LAYERS and (number.isdecimal() or text == layer)):
        return text
    names = ", ".join((CPU, GPU, *LAYERS))
    raise argparse.ArgumentTypeError(f"got {text!r}, expected one of {names}, a layer with a number as in cuda:1")


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae verify`."""

    bundle: Path = option(help="folder that `puvae build` wrote", positional=True, metavar="bundle", role=SEALED)
    samples: Path | None = option(
        None, help=shared.SAMPLES_HELP, default_text=shared.SAMPLES_DEFAULT, role=READ, group="images"
    )
    data: Path | None = option(
        None, help=shared.VERIFIED_DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ, group="images"
    )
    images: int | None = option(
        None, help="number of test images of each set, the first ones", least=1, default_text="all"
    )
    device: str = option(
        CPU,
        help=f"what runs the engine: {CPU}, {GPU} (the first one), {', '.join(LAYERS)}, or a layer with its GPU's "
        "number (cuda:1); a GPU adds kernels, graph replay and latency to the report, emulated tries their logic",
        parse=device_name,
        metavar="DEVICE",
    )
    report: Path | None = option(None, help="file to write the report to", instead="--json PATH", role=WRITTEN)


def run(options: Options) -> Outcome:
    """Make the comparison; the report."""
    on_device, quality_table = shared.own("export.on_device"), shared.own("export.summary").quality_table
    manifest = Manifest.read(options.bundle)
    manifest.verify_files(options.bundle)
    if options.device == CPU:
        samples = _samples(options, manifest)
        quality, section = (
            shared.own("export.verify").verify(options.bundle, manifest, samples, progress=shared.note),
            None,
        )
    else:
        quality, section = _on_device(options, manifest)
    report: dict[str, Any] = {"bundle": str(options.bundle), "quality": asdict(quality)}
    text = f"{options.bundle}\n{quality_table(quality)}"
    passed = quality.passed
    if section is not None:
        report["device"] = section
        text += "\n" + on_device.show(section)
        passed = passed and on_device.passed(section)
    if options.report:
        write_json(options.report, report)
    return Outcome(report, text, bool(passed))


def _samples(options: Options, manifest: Manifest) -> Any:
    """The test images; attacks on them are made here for a model that ships none."""
    classifier = options.bundle / CLASSIFIER_FILE if CLASSIFIER_FILE in manifest.files else None
    find_samples = shared.own("export.verify").find_samples
    samples = find_samples(options.samples, options.data, manifest, shared.note, classifier)
    return samples.head(options.images or len(samples))


def _on_device(options: Options, manifest: Manifest) -> tuple[Any, dict[str, Any]]:
    """The quality of the engine on a device, opened before any image is attacked, and the report of the rest."""
    import numpy as np

    on_device, runners = shared.own("export.on_device"), shared.own("export.runners")
    with on_device.opened(options.bundle, manifest, options.device) as (device, engine):
        samples = _samples(options, manifest)
        built = runners.Built(engine.run, device.evidence)
        quality = shared.own("export.verify").verify(options.bundle, manifest, samples, built, progress=shared.note)
        images = np.divide(samples.sets["clean"], 255, dtype=np.float32)
        return quality, on_device.report(options.bundle, manifest, device, engine, images)
