"""MLPerf's way to measure a stream of camera frames: how many, for how long, and which percentile counts.

The numbers are those of MLPerf Automotive: the 99.9th percentile, at least 600 seconds, and at least 6,636 frames one
after another (single stream), or at least 100,000 at a constant rate (constant stream). This is a run of that form, not
a submission.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from puvae_rt.bench.results import this_machine
from puvae_rt.contract import MEASURED
from puvae_rt.errors import BenchmarkError
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.stream.ages import Percentiles

SINGLE, CONSTANT = "single stream", "constant stream"
LEAST_SECONDS = 600.0
LEAST_FRAMES = {SINGLE: 6_636, CONSTANT: 100_000}
PERCENTILE = "p99_9"
_WARM_UP_FRAMES = 20
_MOST_RATE = 100_000.0  # frames a second


@dataclass(frozen=True)
class Run:
    """What was measured: a frame's latency runs from when it was due to its label."""

    scenario: str
    rate: float | None
    frames: int
    seconds: float
    late: int
    latency_ms: dict[str, float | None]

    def kept(self, slo_ms: float) -> bool:
        """Whether the 99.9th percentile kept a deadline."""
        value = self.latency_ms[PERCENTILE]
        return value is not None and value <= slo_ms

    def document(self, model: str, threads: int, slo_ms: float | None) -> dict[str, Any]:
        """For JSON."""
        slo = None if slo_ms is None else {"ms": slo_ms, "missed": self.late, "kept": self.kept(slo_ms)}
        return {
            "machine": this_machine(),
            "model": model,
            "threads": threads,
            "scenario": self.scenario,
            "rate": self.rate,
            "least": {"seconds": LEAST_SECONDS, "frames": LEAST_FRAMES[self.scenario]},
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "percentile": PERCENTILE,
            "latency_ms": self.latency_ms,
            "slo": slo,
            "evidence": MEASURED,
        }

    def text(self, model: str, slo_ms: float | None) -> str:
        """For people."""
        rate = "one after another" if self.rate is None else f"at {self.rate:g} a second"
        values = "  ".join(f"{name.replace('_', '.')} {value:.2f}" for name, value in self.latency_ms.items())
        lines = [
            f"{model}: MLPerf's {self.scenario}, {self.frames} frames {rate} in {self.seconds:.0f} s "
            f"(at least {LEAST_FRAMES[self.scenario]} and {LEAST_SECONDS:g} s)",
            f"frame to label, ms: {values}",
        ]
        if slo_ms is not None:
            verdict = "kept" if self.kept(slo_ms) else "missed"
            lines.append(f"deadline of {slo_ms:g} ms at {PERCENTILE.replace('_', '.')}: {verdict}, {self.late} late")
        return "\n".join(lines)


def measure(
    purifier: Purifier,
    rate: float | None,
    slo_ms: float | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Run:
    """A whole run: as many frames and as long as MLPerf asks for, with `rate` at that many a second.

    Raises:
        BenchmarkError: a rate that is none.
    """
    if rate is not None and not 0 < rate <= _MOST_RATE:
        raise BenchmarkError(f"--rate {rate:g}: expected frames a second above 0, up to {_MOST_RATE:g}")
    scenario = SINGLE if rate is None else CONSTANT
    frames, latencies, late = _frames(purifier), Percentiles(), 0
    for _ in range(_WARM_UP_FRAMES):
        purifier(next(frames))
    start = time.perf_counter()
    while latencies.count < LEAST_FRAMES[scenario] or time.perf_counter() - start < LEAST_SECONDS:
        frame = next(frames)
        due = time.perf_counter() if rate is None else _wait(start + latencies.count / rate)
        purifier(frame)
        latency = 1e3 * (time.perf_counter() - due)
        latencies.add(latency)
        late += slo_ms is not None and latency > slo_ms
        shares = latencies.count / LEAST_FRAMES[scenario], (time.perf_counter() - start) / LEAST_SECONDS
        progress(min(1.0, *shares))
    seconds = time.perf_counter() - start
    return Run(scenario, rate, latencies.count, seconds, late, latencies.summary())


def _wait(due: float) -> float:
    """Sleeps until then; a frame that is due already begins at once, its latency runs all the same."""
    left = due - time.perf_counter()
    if left > 0:
        time.sleep(left)
    return due


def _frames(purifier: Purifier) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Noise of the model's size, as a camera gives it, without end; the time does not depend on what is on it."""
    contract = purifier.contract
    shape = (contract.height, contract.width) + ((3,) if contract.channels == 3 else ())
    made = np.random.default_rng(0).integers(0, 256, (64, *shape), np.uint8)
    while True:
        yield from made
