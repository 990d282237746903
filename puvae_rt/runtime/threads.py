"""How many threads a CPU engine uses.

One frame is a chain of small layers. On an idle machine two threads lower its median, to half at best; on a busy one
they wait for each other at every layer, and a single thread has the better median and tail. So one is the default, a
caller who owns the machine asks for more, and "auto" measures. A batch needs no such choice: its parts run side by
side, one thread each.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from puvae_rt.files import read_bytes
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime import cache
from puvae_rt.runtime.bundle import CPU, Source
from puvae_rt.runtime.cpu import OrtEngine
from puvae_rt.runtime.engine import cpu_identity, graph_of
from puvae_rt.runtime.machine import AUTO, DEFAULT_THREADS, MAX_THREADS, Threads, available_cpus, thread_count
from puvae_rt.schema import decode, integer

logger = logging.getLogger(__name__)

THREADS_FILE = "threads.json"

_SECONDS = 1.0  # to measure "auto" for, about
_ROUNDS, _FRAMES = 8, 4  # at least as many rounds, of as many frames for each number of threads
_GAIN = 0.9  # more threads have to bring the frame down to this share, or the fewer ones are taken
_PERCENTILE = 90  # what is compared: the median hides the waits on a busy machine
_MAX_BYTES = 1 << 16
_MOST_AT_ONCE = 16  # runs of a batch: each takes up to 25 MB


@dataclass(frozen=True)
class Measured:
    """threads.json."""

    threads: Annotated[int, integer(1, MAX_THREADS)]
    p90_ms: dict[str, float]


def check_threads(threads: Any) -> None:
    """ContractError unless `plan_threads` takes it."""
    if not (isinstance(threads, str) and threads == AUTO):
        thread_count(threads, or_auto=True)


def plan_threads(threads: int | str | None, source: Source) -> Threads:
    """The threads of a source's engine.

    Args:
        threads: a number is kept to, by batches too; None is one for a frame; "auto" is measured, once for this model
            on this machine, and kept in the engine cache. With None and "auto", batches use every processor.
        source: what is to run.
    """
    if threads == AUTO and source.target == CPU:
        frame = _measured_once(source).threads
    elif threads is None or threads == AUTO:
        frame = DEFAULT_THREADS
    else:
        return Threads(thread_count(threads, or_auto=True))
    return Threads(frame, max(1, min(_MOST_AT_ONCE, available_cpus() // frame)))


def _measured_once(source: Source) -> Measured:
    """Out of the engine cache, or measured into it; measured at every load where there is no cache."""
    identity = {**cpu_identity(source), "processors": available_cpus(), "measured": f"p{_PERCENTILE}, {_GAIN}"}

    def read(folder: Path) -> Measured:
        data = read_bytes(folder / THREADS_FILE, _MAX_BYTES, folder)
        return decode(data, Measured, str(folder / THREADS_FILE), "it is measured anew")

    def write(folder: Path) -> None:
        found = _measure(source)
        (folder / THREADS_FILE).write_text(json.dumps({"threads": found.threads, "p90_ms": found.p90_ms}), "utf-8")

    return cache.open_cached(f"{source.name}-threads", identity, write, read) or _measure(source)


def _measure(source: Source) -> Measured:
    """The fewest threads from which more of them bring no gain, by the time of single frames, in turns."""
    model, most = graph_of(source), available_cpus()
    counts = sorted({most, *(1 << i for i in range(most.bit_length()) if 1 << i <= most)})
    engines = {n: OrtEngine(model, source.contract, len(source.classes), n) for n in counts}
    image = np.full((1, *source.contract.shape), 0.5, np.float32)
    noise = np.zeros((1, len(source.classes), LATENT), np.float32) if engines[1].takes_noise else None
    times: dict[int, list[float]] = {n: [] for n in counts}
    end, rounds = time.perf_counter() + _SECONDS, 0
    while rounds < _ROUNDS or time.perf_counter() < end:
        for n, engine in engines.items():
            for _ in range(_FRAMES):
                start = time.perf_counter()
                engine.run(image, noise)
                times[n].append((time.perf_counter() - start) * 1e3)
        rounds += 1
    slowest = {n: float(np.percentile(values, _PERCENTILE)) for n, values in times.items()}
    chosen = fewest(slowest)
    told = ", ".join(f"{n}: {value:.2f} ms" for n, value in slowest.items())
    logger.info("%s: %d threads for a frame (p%d by threads: %s)", source.name, chosen, _PERCENTILE, told)
    return Measured(chosen, {str(n): round(value, 4) for n, value in slowest.items()})


def fewest(milliseconds: dict[int, float]) -> int:
    """The fewest threads whose time more of them do not bring down to the share `_GAIN`."""
    chosen = min(milliseconds)
    for n in sorted(milliseconds):
        if milliseconds[n] < _GAIN * milliseconds[chosen]:
            chosen = n
    return chosen
