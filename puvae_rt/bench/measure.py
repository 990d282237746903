"""Times several engines in one run, a slice of each in turn, so that what else the machine does hits all alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from puvae_rt.bench.results import Bench, Result, this_machine
from puvae_rt.contract import MEASURED
from puvae_rt.errors import BenchmarkError
from puvae_rt.graph.cpu import cpu_passes
from puvae_rt.runtime.assets import shipped
from puvae_rt.runtime.bundle import from_shipped, is_bundle, open_bundle
from puvae_rt.runtime.latency import summary
from puvae_rt.runtime.manifest import Manifest

WARM_UP_SECONDS = 0.5  # for each engine and batch size, before anything is timed
SLICES = 10  # in which the time of an engine and batch size is taken
LEAST_RUNS = 5  # of a slow engine, whatever time they take
_STDERR = 2
_REST_SECONDS = 0.05  # between two engines: the threads of ONNX Runtime go on spinning for a moment

Progress = Callable[[float], None]  # share done, 0 to 1


def settings(seconds: float) -> dict[str, float | int]:
    """What `seconds` for each engine and batch size means, for the record."""
    return {"seconds": seconds, "warm_up_seconds": WARM_UP_SECONDS, "slices": SLICES, "least_runs": LEAST_RUNS}


@dataclass(frozen=True)
class Subject:
    """An engine to be measured."""

    name: str
    target: str
    precision: str
    passes: tuple[str, ...]

    @staticmethod
    def of(source: str) -> Subject:
        """A shipped model's name or a bundle's folder, verified."""
        if is_bundle(source):
            open_bundle(Path(source))
            manifest = Manifest.read(source)
            return Subject(source, manifest.target, manifest.precision, manifest.passes)
        model = shipped(source)
        return Subject(source, from_shipped(source).target, "fp32", cpu_passes(model.score, model.shortlist))


@dataclass
class _Case:
    """One engine at one batch size."""

    engine: _Engine
    batch: int
    rss_mb: float = 0.0
    milliseconds: list[float] = field(default_factory=list)

    def result(self) -> Result:
        latency = {key: float(value or 0) for key, value in summary(self.milliseconds).items()}
        subject = self.engine.subject
        return Result(
            name=subject.name,
            target=subject.target,
            precision=subject.precision,
            passes=subject.passes,
            batch=self.batch,
            p50_ms=latency["p50"],
            p90_ms=latency["p90"],
            p99_ms=latency["p99"],
            p99_9_ms=latency["p99_9"],
            images_per_second=1e3 * self.batch * len(self.milliseconds) / sum(self.milliseconds),
            rss_mb=self.rss_mb,
            evidence=MEASURED,
            runs=len(self.milliseconds),
            first_result_s=self.engine.first_result_s,
            threads=self.engine.threads,
        )


def measure(
    sources: Sequence[str], batches: Sequence[int], threads: int | str, seconds: float, progress: Progress
) -> Bench:
    """Every engine at every batch size, for `seconds` each, with `threads` as `Purifier.load` takes them.

    Raises:
        BenchmarkError: an engine's process fails.
        UnknownModelError, BundleError, QualityError: a source that is no engine.
    """
    subjects = [Subject.of(source) for source in sources]
    with ExitStack() as stack:
        engines = [stack.enter_context(_Engine(subject, threads)) for subject in subjects]
        cases = [_Case(engine, batch) for engine in engines for batch in sorted(batches)]
        for case in cases:
            case.rss_mb = case.engine.run(case.batch, WARM_UP_SECONDS, warm_up=True)["rss_mb"]
        _take_turns(cases, seconds, progress)
    return Bench(this_machine(), threads, tuple(case.result() for case in cases))


def _take_turns(cases: Sequence[_Case], seconds: float, progress: Progress) -> None:
    while waiting := [case for case in cases if _share(case, seconds) < 1]:
        for case in waiting:
            time.sleep(_REST_SECONDS)
            case.milliseconds += case.engine.run(case.batch, seconds / SLICES)["ms"]
            progress(sum(_share(case, seconds) for case in cases) / len(cases))


def _share(case: _Case, seconds: float) -> float:
    """How much of its time a case has had."""
    return min(1.0, sum(case.milliseconds) / (1e3 * seconds), len(case.milliseconds) / LEAST_RUNS)


class _Engine:
    """A worker process with one engine."""

    def __init__(self, subject: Subject, threads: int | str) -> None:
        self.subject = subject
        start = time.perf_counter()
        # A session of its own: Ctrl-C reaches the parent alone, which ends it in good order.
        # A pipe of its own for the answers: what libraries print goes where ours goes that is not a result.
        answers, answering = os.pipe()
        self._answers = os.fdopen(answers, encoding="utf-8")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "puvae_rt.bench.worker", subject.name, str(threads), str(answering)],
                stdin=subprocess.PIPE,
                stdout=_STDERR,
                text=True,
                start_new_session=True,
                pass_fds=(answering,),
            )
        finally:
            os.close(answering)
        try:
            self.threads: int = self._answer()["threads"]
        except BaseException:
            self._end()
            raise
        self.first_result_s = time.perf_counter() - start

    def run(self, batch: int, seconds: float, warm_up: bool = False) -> dict[str, Any]:
        """{"ms": [...], "rss_mb": ...} of runs for `seconds`, at least one."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"batch": batch, "seconds": seconds, "warm_up": warm_up}) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it ended: _answer says so
        return self._answer()

    def __enter__(self) -> _Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.communicate()
        self._answers.close()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line.endswith("\n"):
            code = self._process.wait()
            raise BenchmarkError(
                f"{self.subject.name}: its process ended with code {code}, expected latencies; "
                "try a smaller --batch if memory ran out"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"{self.subject.name}: {answer['error']}")
        return answer
