"""Build an engine: weights -> FP32 ONNX -> exact passes -> precision -> engine -> attest -> quality gate -> bundle.

The bundle OUT/MODEL-TARGET-PRECISION appears whole or not at all, and replaces an older one in one step.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, option
from puvae_rt.contract import MANIFEST_FILE, MIN_SHORTLIST
from puvae_rt.errors import QualityError
from puvae_rt.runtime.arguments import PRIORS
from puvae_rt.runtime.manifest import TARGETS

HINT = "no bundle was written or replaced"
CHECKS = (QualityError,)
_settings = shared.own("export.settings")
_defaults = _settings.BuildSettings


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if not 1 <= len(sizes) <= 2:
        raise argparse.ArgumentTypeError(f"{text!r}: expected one size, or the smallest and the largest, such as 1,8")
    return tuple(sorted(set(sizes)))


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae build`."""

    model: str = option("mnist", help="model to compile: shipped name, .safetensors or .onnx")
    target: str = option(_defaults.target, help="what the engine is compiled for", choices=TARGETS)
    precision: str = option(_defaults.precision, help="precision of the engine", choices=_settings.PRECISIONS)
    passes: str = option(
        _defaults.passes, help="rewriting of the graph; 'none' is the slow reference", choices=_settings.PASSES
    )
    prior: str = option(
        _defaults.prior, help="what chooses besides the distance: the model's own prior, or none", choices=PRIORS
    )
    shortlist: int | None = option(
        None,
        help="number of classes decoded, those that the prior ranks first",
        least=MIN_SHORTLIST,
        default_text="the model's own on a CPU, all on a GPU",
    )
    sigma: float = option(_defaults.sigma, help="scale of the sampling noise; 0 is deterministic")
    batch: tuple[int, ...] = option(
        _defaults.batch,
        help=f"smallest and largest number of images of a call, 1 to {_settings.MAX_BATCH}, in either order; a single "
        "number is both",
        parse=_sizes,
        metavar="N,N",
        default_text=",".join(map(str, _defaults.batch)),
    )
    out: Path = option(Path("out"), help="parent folder of the bundle")
    compute_capability: tuple[str, ...] | None = option(
        None,
        help=f"GPUs to compile for, of target rtx: {', '.join(_settings.COMPUTE_CAPABILITIES)}; or any",
        metavar="X.Y",
        default_text=", ".join(_settings.DEFAULT_COMPUTE_CAPABILITIES),
    )
    classifier: str | None = option(
        None,
        help="classifier of the bundle: shipped name, .onnx or .safetensors, or 'none'",
        default_text="the model's own",
    )
    samples: Path | None = option(
        None,
        help=f"{shared.SAMPLES_HELP}, for the gate",
        default_text=shared.SAMPLES_DEFAULT,
        role=READ,
        group="images",
    )
    data: Path | None = option(
        None, help=shared.VERIFIED_DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ, group="images"
    )
    no_verify: bool = option(False, help="skip the quality gate; the manifest records it; not with --samples or --data")


def sealed_around(options: Options, path: Path) -> dict[str, Path]:
    """The bundle in OUT that `path` lies in: one that is there, or one that this build may write."""
    ending, out = f"-{options.target}-{options.precision}", os.path.realpath(options.out)
    inside = Path(os.path.realpath(path))
    for folder in (inside, *inside.parents):
        if str(folder.parent).casefold() == out.casefold() and (
            folder.name.casefold().endswith(ending) or (folder / MANIFEST_FILE).is_file()
        ):
            return {"the bundle": folder}
    return {}


def run(options: Options) -> Outcome:
    """Build the bundle; its manifest."""
    start = time.perf_counter()

    def progress(line: str) -> None:
        shared.note(f"{time.perf_counter() - start:6.1f} s  {line}")

    capabilities = options.compute_capability
    settings = _settings.BuildSettings(
        model=options.model,
        out=options.out,
        target=options.target,
        precision=options.precision,
        passes=options.passes,
        sigma=options.sigma,
        batch=options.batch,
        compute_capabilities=capabilities,
        classifier=options.classifier,
        samples=options.samples,
        data=options.data,
        verify=not options.no_verify,
        prior=options.prior,
        shortlist=options.shortlist,
    )
    folder, manifest = shared.own("export.build").build(settings, progress)
    table = shared.own("export.summary").bundle_table(folder, manifest)
    return Outcome({"bundle": str(folder), "manifest": asdict(manifest)}, table)
