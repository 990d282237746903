"""One engine in a process of its own, so that its memory is its own: times runs when told to.

A line of JSON {"batch": 8, "seconds": 0.5, "warm_up": false} on standard input is answered by a line {"ms": [...],
"rss_mb": 80.1} or {"error": "..."} on a pipe of its own, whose descriptor is the last argument: what libraries print
disturbs nothing. The end of the input ends the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np

from puvae_rt.errors import PuvaeError
from puvae_rt.runtime.machine import AUTO, rss_mb
from puvae_rt.runtime.purifier import Purifier

WARM_UP_RUNS = 3


def main() -> None:
    """Serves with the arguments of this process: an engine, its threads or "auto", the descriptor to answer on."""
    with os.fdopen(int(sys.argv[3]), "w", encoding="utf-8") as answers:
        try:
            serve(sys.argv[1], sys.argv[2], answers)
        except PuvaeError as error:
            reply(answers, {"error": str(error)})


def serve(source: str, threads: str, answers: TextIO) -> None:
    """Answers every order on standard input; the first answer comes unasked, when the first image is purified."""
    with Purifier.load(source, threads=threads if threads == AUTO else int(threads), classifier=False) as purifier:
        purifier.purify(images(purifier, 1))
        reply(answers, {"rss_mb": rss_mb(), "threads": purifier.threads})
        for line in sys.stdin:
            order = json.loads(line)
            times = run(purifier, order["batch"], order["seconds"], WARM_UP_RUNS if order["warm_up"] else 1)
            reply(answers, {"ms": times, "rss_mb": rss_mb()})


def run(purifier: Purifier, batch: int, seconds: float, least: int) -> list[float]:
    """Milliseconds of each run: for `seconds`, and `least` times however long that takes."""
    fed = images(purifier, batch)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < least or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        purifier.purify(fed)
        times.append(1e3 * (time.perf_counter() - before))
    return times


def images(purifier: Purifier, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Noise: the time does not depend on what is on the images."""
    return np.random.default_rng(0).random((batch, *purifier.contract.shape), np.float32)


def reply(answers: TextIO, answer: dict[str, Any]) -> None:
    """Sends one line."""
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
