"""What a benchmark says: as JSON, and as a table."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from puvae_rt.errors import BenchmarkError
from puvae_rt.runtime import machine
from puvae_rt.schema import AboveZero, Count, NonNegative, Positive, Text, Texts, decode, read_json

_MAX_BYTES = 16 << 20
_REMEDY = "give a file that `puvae bench --json` wrote"


@dataclass(frozen=True)
class Result:
    """Latency and memory of one engine at one batch size."""

    name: Text  # the bundle's folder as given, or a shipped model's name
    target: Text
    precision: Text
    passes: Texts
    batch: Positive
    p50_ms: AboveZero
    p90_ms: AboveZero
    p99_ms: AboveZero
    p99_9_ms: AboveZero
    images_per_second: NonNegative
    rss_mb: AboveZero  # of a process with nothing but this engine, when it first reached this batch size
    evidence: Text
    runs: Positive  # a percentile finer than 1 / runs is the slowest run
    first_result_s: NonNegative  # start of a process, imports, load (engine cache as it was found), one image
    threads: Positive | None = None  # of one image; None in results from before 0.2


@dataclass(frozen=True)
class Bench:
    """A whole measurement: the machine, the threads asked for (a number or "auto"), a result per engine and size."""

    machine: Mapping[str, str | int]
    threads: int | str
    results: tuple[Result, ...]

    def document(self, settings: Mapping[str, float | int]) -> dict[str, Any]:
        """What is written as JSON, and `read_bench` reads."""
        results = [asdict(result) for result in self.results]
        return {"machine": dict(self.machine), "threads": self.threads, "settings": dict(settings), "results": results}


@dataclass(frozen=True)
class _Machine:
    cpu: Text
    flags: Text
    system: Text
    processors: Count


@dataclass(frozen=True)
class _Stored:
    """What `Bench.document` makes, as far as it is read back."""

    machine: _Machine
    threads: Positive | Literal["auto"]
    results: tuple[Result, ...]


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
    document = read_json(path, _MAX_BYTES, _REMEDY, BenchmarkError)
    stored = decode(document, _Stored, str(path), _REMEDY, BenchmarkError)
    return Bench(asdict(stored.machine), stored.threads, stored.results)


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
