"""What a benchmark says: as JSON, and as a table."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from puvae_rt.errors import BenchmarkError, BundleError
from puvae_rt.runtime import machine
from puvae_rt.runtime.fields import Fields

MEASURED = "measured"
_MAX_BYTES = 16 << 20
_ABOVE_ZERO = 1e-9  # what ratios are taken of
_REMEDY = "give a file that `python -m puvae_rt.bench --json` wrote"


@dataclass(frozen=True)
class Result:
    """Latency and memory of one engine at one batch size."""

    name: str  # the bundle's folder as given, or a shipped model's name
    target: str
    precision: str
    passes: tuple[str, ...]
    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_9_ms: float
    images_per_second: float
    rss_mb: float  # of a process with nothing but this engine, when it first reached this batch size
    evidence: str
    runs: int  # a percentile finer than 1 / runs is the slowest run
    first_result_s: float  # start of a process, imports, load (engine cache as it was found), one image


@dataclass(frozen=True)
class Bench:
    machine: Mapping[str, str | int]
    threads: int
    results: tuple[Result, ...]

    def to_json(self, settings: Mapping[str, float | int]) -> str:
        document = {"machine": self.machine, "threads": self.threads, "settings": settings}
        return json.dumps({**document, "results": [asdict(result) for result in self.results]}, indent=1) + "\n"


def this_machine() -> dict[str, str | int]:
    """What a latency depends on besides the code."""
    return {
        "cpu": machine.cpu_model(),
        "flags": machine.cpu_flags_digest(),
        "processors": machine.available_cpus(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def read_bench(path: Path) -> Bench:
    """The JSON of an earlier run; BenchmarkError when it is absent or damaged."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise BenchmarkError(f"{path}: larger than {_MAX_BYTES} bytes; {_REMEDY}")
        fields = Fields(json.loads(path.read_text("utf-8")), str(path), _REMEDY)
        described = fields.child("machine")
        known = {key: described.text(key) for key in ("cpu", "flags", "system")}
        results = tuple(map(_result, fields.children("results")))
        return Bench({**known, "processors": described.integer("processors")}, fields.integer("threads", 1), results)
    except (OSError, ValueError, RecursionError, BundleError) as error:
        raise BenchmarkError(f"{path}: not readable as results ({error}); {_REMEDY}") from error


def _result(fields: Fields) -> Result:
    return Result(
        name=fields.text("name"),
        target=fields.text("target"),
        precision=fields.text("precision"),
        passes=fields.texts("passes"),
        batch=fields.integer("batch", 1),
        p50_ms=fields.number("p50_ms", _ABOVE_ZERO),
        p90_ms=fields.number("p90_ms", _ABOVE_ZERO),
        p99_ms=fields.number("p99_ms", _ABOVE_ZERO),
        p99_9_ms=fields.number("p99_9_ms", _ABOVE_ZERO),
        images_per_second=fields.number("images_per_second"),
        rss_mb=fields.number("rss_mb", _ABOVE_ZERO),
        evidence=fields.text("evidence"),
        runs=fields.integer("runs", 1),
        first_result_s=fields.number("first_result_s"),
    )


def table(results: Sequence[Result]) -> str:
    """One line for each engine and batch size, with how much faster it is than the first engine."""
    width = max([len(result.name) for result in results] + [6])
    first = {result.batch: result.p50_ms for result in reversed(results)}
    head = f"{'engine':<{width}}  batch   p50 ms      p90      p99    p99.9  images/s  faster  RSS MB  first s   runs"
    lines = [head]
    for r in results:
        lines.append(
            f"{r.name:<{width}}  {r.batch:>5}  {r.p50_ms:>7.2f}  {r.p90_ms:>7.2f}  {r.p99_ms:>7.2f}  {r.p99_9_ms:>7.2f}"
            f"  {r.images_per_second:>8.1f}  {first[r.batch] / r.p50_ms:>5.1f}x  {r.rss_mb:>6.0f}"
            f"  {r.first_result_s:>7.2f}  {r.runs:>5}"
        )
    return "\n".join(lines)
