"""Holds a benchmark against an earlier one on the same machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from puvae_rt.bench.results import Bench, Result
from puvae_rt.errors import BenchmarkError

TOLERANCE = 0.15  # medians of two runs on a quiet machine differ by a few percent


@dataclass(frozen=True)
class Change:
    """One engine at one batch size, then and now; ratios are now / then."""

    then: Result
    now: Result
    latency: float  # of the medians, each relative to the yardstick of its own run if there is one
    memory: float

    def worse(self, tolerance: float) -> bool:
        """Whether latency or memory grew by more than the share `tolerance`."""
        return max(self.latency, self.memory) > 1 + tolerance


def require_comparable(then: Bench, machine: Mapping[str, str | int], threads: int | str) -> None:
    """BenchmarkError when `then` was measured on another machine or with another number of threads."""
    if dict(then.machine) != dict(machine):
        raise BenchmarkError(
            f"compare: got results of {_name(then.machine)}, this is {_name(machine)}; latencies of two machines "
            "cannot be compared: measure both here"
        )
    if then.threads != threads:
        raise BenchmarkError(f"compare: got results of {then.threads} threads, this run has {threads}; use --threads")


def compare(now: Bench, then: Bench, yardstick: str | None = None) -> list[Change]:
    """What both measured, in order.

    Args:
        now: this run.
        then: the run that it must not be worse than.
        yardstick: an engine of both runs; each latency is divided by this engine's at the same batch size in the
            same run, so that a machine that was busier then or now makes no difference.

    Raises:
        BenchmarkError: another machine or number of threads, or nothing in common.
    """
    require_comparable(then, now.machine, now.threads)
    before = {(result.name, result.batch): result for result in then.results}
    common = [(before[r.name, r.batch], r) for r in now.results if (r.name, r.batch) in before]
    if not common:
        names = ", ".join(sorted({f"{r.name} at batch {r.batch}" for r in then.results})) or "nothing"
        raise BenchmarkError(f"compare: the other file has {names}, expected an engine and batch size of this run")
    return [_change(old, new, _scale(then, old, yardstick), _scale(now, new, yardstick)) for old, new in common]


def _change(then: Result, now: Result, then_scale: float, now_scale: float) -> Change:
    latency = (now.p50_ms / now_scale) / (then.p50_ms / then_scale)
    return Change(then, now, latency, now.rss_mb / then.rss_mb)


def _scale(bench: Bench, result: Result, yardstick: str | None) -> float:
    if yardstick is None:
        return 1.0
    for other in bench.results:
        if (other.name, other.batch) == (yardstick, result.batch):
            return other.p50_ms
    names = ", ".join(sorted({r.name for r in bench.results}))
    raise BenchmarkError(
        f"compare: got {yardstick!r} as a yardstick at batch {result.batch}, expected one of {names} in both runs"
    )


def table(changes: list[Change], tolerance: float) -> str:
    """The comparison in lines: an engine and batch size each, then and now."""
    width = max(len(change.now.name) for change in changes)
    lines = [f"{'engine':<{width}}  batch  p50 then      now   ratio  RSS ratio  (worse above {1 + tolerance:.2f})"]
    for c in changes:
        lines.append(
            f"{c.now.name:<{width}}  {c.now.batch:>5}  {c.then.p50_ms:>8.2f}  {c.now.p50_ms:>7.2f}  {c.latency:>6.2f}  "
            f"{c.memory:>9.2f}  {'WORSE' if c.worse(tolerance) else 'ok'}"
        )
    return "\n".join(lines)


def _name(machine: Mapping[str, str | int]) -> str:
    return ", ".join(f"{key} {value}" for key, value in machine.items())
