"""Build an engine: weights -> FP32 ONNX -> exact passes -> precision -> engine -> attest -> quality gate -> bundle.

The bundle OUT/MODEL-TARGET-PRECISION appears whole or not at all, and replaces an older one in one step.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import puvae_rt
from export.attacked_samples import Progress
from export.classifier import write_chosen_classifier
from export.cost import macs_per_image
from export.engine import FP16, FP32, Compiled, check_target, compile_engine
from export.output import output_folder
from export.proof import prove_exact
from export.quality import EXACT_ERROR
from export.samples import Samples
from export.source import EXACT, PASSES, Source, read_source
from export.summary import bundle_table
from export.verify import DATA_HELP, find_samples, verify
from puvae_rt.cli.command import run_command
from puvae_rt.contract import MANIFEST_FILE, MAX_BATCH, REFERENCE_FILE
from puvae_rt.errors import ContractError, QualityError
from puvae_rt.files import refuse_overwrite, sha256_of
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.graph.onnx_file import write_onnx
from puvae_rt.runtime.bundle import CPU
from puvae_rt.runtime.manifest import TARGETS, Manifest, Options

PRECISIONS = (FP32, FP16)
DEFAULT_BATCH = (1, 8)


@dataclass(frozen=True)
class Settings:
    """What to build; ContractError names the flag to change."""

    model: str  # a shipped name, a .safetensors checkpoint, or an .onnx of ours
    out: Path
    target: str = CPU
    precision: str = FP32
    passes: str = EXACT
    sigma: float = 0.0
    batch: tuple[int, ...] = DEFAULT_BATCH
    compute_capabilities: tuple[str, ...] | None = None
    classifier: str | None = None  # a shipped one's name or a file; None is the shipped model's default
    samples: Path | None = None
    data: Path | None = None  # the dataset to verify on; None: only where no samples are given or shipped
    verify: bool = True

    def __post_init__(self) -> None:
        for flag, value, allowed in (
            ("target", self.target, TARGETS),
            ("precision", self.precision, PRECISIONS),
            ("passes", self.passes, PASSES),
        ):
            if value not in allowed:
                raise ContractError(f"--{flag} {value}: expected one of {', '.join(allowed)}")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ContractError(f"--sigma {self.sigma}: expected a finite number >= 0; the paper's choice is 0.1")
        if not self.batch or any(not 1 <= size <= MAX_BATCH for size in self.batch):
            raise ContractError(f"--batch {self.batch}: expected sizes from 1 to {MAX_BATCH}, such as 1,8")
        trt.check_compute_capabilities(self.target, self.compute_capabilities)

    @property
    def inputs(self) -> dict[str, Path | str | None]:
        """What is read, by the option that names it."""
        return {
            "--model": self.model,
            "--classifier": self.classifier,
            "--samples": self.samples,
            "--data": self.data,
        }

    @property
    def capabilities(self) -> tuple[str, ...]:
        """GPUs to compile for; none where the target builds for its own machine."""
        return trt.check_compute_capabilities(self.target, self.compute_capabilities)


def build(settings: Settings, progress: Progress = lambda line: None) -> tuple[Path, Manifest]:
    """Builds one bundle and returns its folder and manifest.

    Raises:
        ContractError, BuildError, UnknownModelError, DataError, TargetUnavailableError
        QualityError: built, but worse than the reference beyond the limits; nothing is left of it.
    """
    check_target(settings.target, settings.precision)
    source = read_source(settings.model, settings.sigma)
    model = source.description
    folder = settings.out / f"{model.model}-{settings.target}-{settings.precision}"
    refuse_overwrite({"--out": folder}, settings.inputs)
    progress(f"{model.model}: {len(model.classes)} classes, {'x'.join(map(str, model.contract.shape))}")
    samples = find_samples(settings.samples, settings.data, model, progress) if settings.verify else None
    graph, description = source.graph(settings.passes)
    progress(f"passes {settings.passes}: {macs_per_image(graph) / 1e6:.0f} million multiply-adds an image")
    exact_error = prove_exact(source, samples) if samples and settings.passes == EXACT else None
    with output_folder(folder, MANIFEST_FILE) as new:
        write_onnx(new / REFERENCE_FILE, source.exact, model)
        write_chosen_classifier(new, settings.classifier, source.shipped, model.contract, len(model.classes))
        progress(f"compiling for {settings.target} in {settings.precision}")
        compiled = compile_engine(
            new, graph, description, settings.target, settings.precision, settings.batch, settings.capabilities
        )
        progress(f"{compiled.engine.kernels_per_frame} kernels a frame, {compiled.engine.evidence}")
        manifest = _manifest(settings, source, compiled, new)
        if samples:
            progress(f"verifying on {len(samples)} images of {', '.join(samples.sets)}")
            manifest = _gated(new, manifest, samples, exact_error)
        manifest.write(new)
    return folder, manifest


def _gated(folder: Path, manifest: Manifest, samples: Samples, exact_error: float | None) -> Manifest:
    """The manifest with its quality report; QualityError when a limit is broken."""
    quality = verify(folder, manifest, samples)
    if not quality.passed:
        raise QualityError(
            f"the engine was built but is not good enough ({'; '.join(quality.failures)}), so no bundle was written; "
            "choose another --precision, or --no-verify to look into it"
        )
    if exact_error is not None:
        quality = replace(quality, built={**quality.built, EXACT_ERROR: exact_error})
    return replace(manifest, quality=quality)


def _manifest(settings: Settings, source: Source, compiled: Compiled, folder: Path) -> Manifest:
    """Of a bundle whose other files are all in `folder`; not verified yet."""
    model = source.description
    return Manifest(
        model=model.model,
        classes=model.classes,
        contract=model.contract,
        score=model.score,
        target=settings.target,
        precision=settings.precision,
        passes=compiled.passes,
        sigma=settings.sigma,
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
        sizes={path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        source_sha256=source.sha256,
        tools=_tools() | compiled.tools,
        engine=compiled.engine,
        options=Options(settings.batch, settings.capabilities, settings.verify),
        quality=None,
    )


def _tools() -> dict[str, str]:
    modules = (puvae_rt, onnx, onnxruntime, np)
    return {"python": platform.python_version()} | {module.__name__: module.__version__ for module in modules}


def settings_of(args: argparse.Namespace) -> Settings:
    return Settings(
        model=args.model,
        out=args.out,
        target=args.target,
        precision=args.precision,
        passes=args.passes,
        sigma=args.sigma,
        batch=args.batch,
        compute_capabilities=None if args.compute_capability is None else tuple(args.compute_capability),
        classifier=args.classifier,
        samples=args.samples,
        data=args.data,
        verify=not args.no_verify,
    )


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(size) for size in text.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected sizes separated by commas, such as 1,8") from None


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m export.build", description=__doc__)
    p.add_argument("--model", default="mnist", help="shipped name, .safetensors or .onnx (default: %(default)s)")
    p.add_argument("--target", choices=TARGETS, default=CPU, help="(default: %(default)s)")
    p.add_argument("--precision", choices=PRECISIONS, default=FP32, help="(default: %(default)s)")
    p.add_argument("--passes", choices=PASSES, default=EXACT, help="none: the slow reference (default: %(default)s)")
    p.add_argument("--sigma", type=float, default=0.0, help="scale of the sampling noise (default: 0, deterministic)")
    p.add_argument("--batch", type=_sizes, default=DEFAULT_BATCH, help="smallest,largest batch (default: 1,8)")
    p.add_argument("--out", type=Path, default=Path("out"), help="the bundle's parent folder (default: %(default)s)")
    capabilities = ", ".join(trt.COMPUTE_CAPABILITIES)
    p.add_argument("--compute-capability", nargs="+", metavar="X.Y", help=f"GPUs of target rtx: {capabilities}")
    p.add_argument("--classifier", help="shipped name, .onnx or .safetensors, or none (default: the model's own)")
    images = p.add_mutually_exclusive_group()
    images.add_argument("--samples", type=Path, help="test images for the gate, .npz (default: those shipped)")
    images.add_argument("--data", type=Path, help=DATA_HELP)
    p.add_argument("--no-verify", action="store_true", help="skip the quality gate; the manifest records it")
    p.add_argument("--json", action="store_true", help="print the bundle's manifest as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    start = time.perf_counter()
    built: list[tuple[Path, Manifest]] = []

    def progress(line: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {line}", file=sys.stderr)

    def work() -> dict[str, Any]:
        built.append(build(settings_of(args), progress))
        return {"bundle": str(built[0][0]), "manifest": asdict(built[0][1])}

    return run_command(work, lambda _: bundle_table(*built[0]), args.json, "no bundle was written or replaced")


if __name__ == "__main__":
    sys.exit(main())
