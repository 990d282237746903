"""Build an engine: weights -> FP32 ONNX -> exact passes -> precision -> engine -> attest -> quality gate -> bundle.

The bundle OUT/MODEL-TARGET-PRECISION appears whole or not at all, and replaces an older one in one step.
"""

from __future__ import annotations

from puvae_rt._moved import renamed
from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "build")  # first: --help needs none of what follows

import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import puvae_rt
from export.attacked_samples import Progress
from export.engine import Compiled, compile_engine
from export.output import output_folder
from export.prepare import Build, prepare
from export.proof import prove_exact
from export.quality import EXACT_ERROR
from export.samples import Samples
from export.settings import EXACT, BuildSettings
from export.verify import verify
from puvae_rt.contract import CLASSIFIER_FILE, MANIFEST_FILE, REFERENCE_FILE
from puvae_rt.errors import QualityError
from puvae_rt.files import sha256_of
from puvae_rt.graph.onnx_file import write_onnx
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Manifest, Options, Quality


def build(settings: BuildSettings, progress: Progress = lambda line: None) -> tuple[Path, Manifest]:
    """Builds one bundle and returns its folder and manifest.

    Args:
        settings: what to build.
        progress: told of each step in a line.
    Raises:
        ContractError, BuildError, BundleError, UnknownModelError, DataError, TargetUnavailableError
        QualityError: built, but worse than the reference beyond the limits; nothing is left of it.
    """
    job = prepare(settings, progress)
    exact_error = prove_exact(job.source, job.samples) if job.samples and settings.passes == EXACT else None
    with output_folder(job.folder, MANIFEST_FILE) as new:
        write_onnx(new / REFERENCE_FILE, job.source.exact, job.source.description)
        if job.classifier is not None:
            (new / CLASSIFIER_FILE).write_bytes(job.classifier.model)
        progress(f"compiling for {settings.target} in {settings.precision}")
        compiled = compile_engine(job, new)
        progress(f"{compiled.engine.kernels_per_frame} kernels a frame, {compiled.engine.evidence}")
        manifest = _manifest(job, compiled, new)
        if job.samples is not None:
            progress(f"verifying on {len(job.samples)} images of {', '.join(job.samples.sets)}")
            manifest = replace(manifest, quality=_judged(job, job.samples, manifest, new, exact_error, progress))
        manifest.write(new)
    return job.folder, manifest


def _judged(
    job: Build, samples: Samples, manifest: Manifest, folder: Path, exact_error: float | None, progress: Progress
) -> Quality:
    """The engine's quality; QualityError when a limit is broken."""
    model = job.description
    classifier = None
    if job.classifier is not None:  # under the name by which the user knows it
        classifier = job.classifier.opened(model.contract, len(model.classes), available_cpus())
    quality = verify(folder, manifest, samples, classifier=classifier, progress=progress)
    if not quality.passed:
        raise QualityError(
            f"the engine was built but is not good enough ({'; '.join(quality.failures)}), so no bundle was written; "
            "choose another --precision, or --no-verify to look into it"
        )
    if exact_error is None:
        return quality
    return replace(quality, built={**quality.built, EXACT_ERROR: exact_error})


def _manifest(job: Build, compiled: Compiled, folder: Path) -> Manifest:
    """The manifest of a bundle whose other files are all in `folder`, without its quality."""
    model, asked = job.description, job.settings
    return Manifest(
        model=model.model,
        classes=model.classes,
        contract=model.contract,
        score=model.score,
        target=asked.target,
        precision=asked.precision,
        passes=model.passes,
        sigma=asked.sigma,
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
        sizes={path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        source_sha256=job.source.sha256,
        tools=_tools() | compiled.tools,
        engine=compiled.engine,
        options=Options(asked.batch, asked.capabilities, asked.verify),
        quality=None,
        shortlist=model.shortlist,
    )


def _tools() -> dict[str, str]:
    modules = (puvae_rt, onnx, onnxruntime, np)
    return {"python": platform.python_version()} | {module.__name__: module.__version__ for module in modules}


_OLD = {name: f"export.settings:{name}" for name in ("PRECISIONS", "DEFAULT_BATCH", "MAX_BATCH")}
__getattr__ = renamed(__name__, _OLD | {"Settings": "export.settings:BuildSettings"})
