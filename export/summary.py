"""What the commands print."""

from __future__ import annotations

from pathlib import Path

from export.quality import AGREEMENT, EXACT_ERROR, MAX_ERROR, PSNR
from puvae_rt.runtime.manifest import Manifest, Quality

_FORMATS = {AGREEMENT: "{:.2%}", PSNR: "{:.1f} dB", MAX_ERROR: "{:.1e}"}


def bundle_table(folder: Path, manifest: Manifest) -> str:
    """What a build prints of its bundle."""
    engine, options = manifest.engine, manifest.options
    rows = {
        "bundle": str(folder),
        "model": f"{manifest.model}: {len(manifest.classes)} classes, {'x'.join(map(str, manifest.contract.shape))}",
        "engine": f"{manifest.target}, {manifest.precision}, sigma {manifest.sigma:g}, batch {_range(options.batch)}",
        "passes": ", ".join(manifest.passes) or "none",
        "decoded": f"{manifest.shortlist or len(manifest.classes)} of {len(manifest.classes)} classes",
        "compiled for": ", ".join(options.compute_capabilities) or "this machine",
        "kernels per frame": f"{engine.kernels_per_frame} ({engine.evidence})",
        "weights": f"{engine.weight_bytes / 1e6:.2f} MB",
        "files": ", ".join(f"{name} {_size(folder / name)}" for name in sorted(manifest.files)),
        "built in": f"{engine.build_seconds:.1f} s",
    }
    width = max(map(len, rows))
    lines = [f"{key:<{width}}  {value}" for key, value in rows.items()]
    if manifest.quality is None:
        return "\n".join([*lines, "quality was not verified (--no-verify)"])
    return "\n".join([*lines, quality_table(manifest.quality)])


def quality_table(quality: Quality) -> str:
    """A table with one row for each image set, and what it was held against."""
    sets = list(dict.fromkeys(key.partition("/")[2] for key in quality.reference))
    measures = list(dict.fromkeys(key.partition("/")[0] for key in quality.built if "/" in key))
    header = ["image set", *measures]
    rows = [[name, *(_cell(quality, f"{measure}/{name}") for measure in measures)] for name in sets]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    verdict = "passed" if quality.passed else "FAILED: " + "; ".join(quality.failures)
    limits = ", ".join(f"{key} {value:g}" for key, value in quality.limits.items())
    if EXACT_ERROR in quality.built:
        lines.append(f"exact passes: candidates within {quality.built[EXACT_ERROR]:.1e} of the straightforward graph")
    return "\n".join(
        [*lines, f"quality {verdict} ({quality.images} images a set, {quality.evidence}; limits: {limits})"]
    )


def _cell(quality: Quality, key: str) -> str:
    """The built engine's value, beside the reference's where it has one."""
    value = quality.built[key]
    if key in quality.reference:
        return f"{value:.1%} ({quality.reference[key]:.1%})"
    return _FORMATS[key.partition("/")[0]].format(value)


def _range(batch: tuple[int, ...]) -> str:
    return str(batch[0]) if len(batch) == 1 else f"{min(batch)} to {max(batch)}"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
