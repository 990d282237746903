"""An answer for every frame, in time: what stands in for a purified frame that is late, NaN, or fails."""

from __future__ import annotations

import logging
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as Late
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from puvae_rt.errors import ContractError, DegradedError, EngineError
from puvae_rt.runtime.preprocess import Roi, as_input
from puvae_rt.runtime.purifier import Purifier, Stopwatch
from puvae_rt.runtime.results import LAST_GOOD, NO_IMAGE, NO_LABEL, PASSTHROUGH, Result

logger = logging.getLogger(__name__)

STOP = "stop"
MODES = (PASSTHROUGH, LAST_GOOD, STOP)
DEADLINE, NAN, ERROR = "deadline", "nan", "error"
KEEP_SECONDS = 1.0


class Guard:
    """A purifier with a deadline, and a declared way to go on.

    `passthrough` answers with the frame as it came and what the classifier sees in it; `last-good` with the last good
    result, for `keep_seconds` at most and from then on with no label; `stop` raises DegradedError. Each such answer has
    `degraded`, its `reason` and what is `shown`, and is counted.

    With a deadline the purifier runs in a thread of its own: an answer that comes too late is thrown away, and a frame
    that finds the purifier still at work is degraded at its deadline. The caller must not overwrite a frame.

    Attributes:
        purifier: it stays the caller's to close.
        counts: degraded frames by their reason.
    """

    def __init__(
        self,
        purifier: Purifier,
        mode: str = PASSTHROUGH,
        deadline_ms: float | None = None,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        if mode not in MODES:
            raise ContractError(f"degraded mode {mode!r}: expected one of {', '.join(MODES)}")
        if deadline_ms is not None and not 0 < deadline_ms < float("inf"):
            raise ContractError(f"deadline {deadline_ms} ms: expected a number above 0")
        self.purifier, self.mode, self.counts = purifier, mode, Counter[str]()
        self._deadline_ms, self._keep_seconds = deadline_ms, keep_seconds
        self._pool = ThreadPoolExecutor(1, "purifier") if deadline_ms is not None else None
        self._running: Future[Result] | None = None
        self._good: tuple[float, Result] | None = None

    def __call__(self, frame: Any, roi: Roi | None = None, captured: float | None = None) -> Result:
        """As `Purifier.__call__`; the deadline runs from `captured` (time.monotonic()), or else from now.

        Raises:
            InputError, ClosedError: as of the purifier; they are the caller's mistakes.
            DegradedError: there is no good answer, and the mode is `stop`.
        """
        clock, started = Stopwatch(), time.monotonic()
        try:
            result = self._purify(frame, roi, started if captured is None else captured)
            reason = NAN if result.degraded else ""
        except Late:
            reason = DEADLINE
        except EngineError as error:
            logger.warning("%s", error)
            reason = ERROR
        if not reason:
            self._good = time.monotonic(), result
            return result
        self.counts[reason] += 1
        return self._instead(frame, roi, reason, clock)

    def close(self) -> None:
        """Ends the thread; a frame under way is waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _purify(self, frame: Any, roi: Roi | None, captured: float) -> Result:
        if self._pool is None or self._deadline_ms is None:
            return self.purifier(frame, roi)
        end = captured + self._deadline_ms / 1e3
        if self._running is not None and not wait([self._running], max(0.0, end - time.monotonic())).done:
            raise Late
        left = end - time.monotonic()
        if left <= 0:
            raise Late
        self._running = self._pool.submit(self.purifier, frame, roi)
        return self._running.result(left)

    def _instead(self, frame: Any, roi: Roi | None, reason: str, clock: Stopwatch) -> Result:
        if self.mode == STOP:
            raise DegradedError(
                f"purifier {self.purifier.name!r}: no good answer for a frame ({reason}), and the mode is {STOP}; "
                f"choose {PASSTHROUGH} or {LAST_GOOD} to go on"
            )
        if self.mode == LAST_GOOD and self._good is not None:
            at, good = self._good
            if time.monotonic() - at <= self._keep_seconds:
                clock.lap("degraded")
                return replace(good, degraded=True, reason=reason, shown=LAST_GOOD, timings_ms=_laps(clock))
        image, label, shown = self._as_it_came(frame, roi) if self.mode == PASSTHROUGH else self._nothing()
        clock.lap("degraded")
        classes = len(self.purifier.classes)
        return Result(
            image=image,
            label=label,
            rmse=np.full(classes, np.nan, np.float32),
            timings_ms=_laps(clock),
            degraded=True,
            projected=NO_LABEL,
            score=np.full(classes, np.inf, np.float32),
            reason=reason,
            shown=shown,
        )

    def _as_it_came(self, frame: Any, roi: Roi | None) -> tuple[Any, int, str]:
        """The frame's region at the model's size, and what the classifier sees in it."""
        images = as_input(frame, roi, self.purifier.contract)
        label = NO_LABEL
        if self.purifier.classifier is not None:
            try:
                label = int(self.purifier.classifier.labels(images)[0])
            except EngineError as error:
                logger.warning("%s", error)
        return images[0], label, PASSTHROUGH

    def _nothing(self) -> tuple[Any, int, str]:
        return np.full(self.purifier.contract.shape, np.nan, np.float32), NO_LABEL, NO_IMAGE


def _laps(clock: Stopwatch) -> dict[str, float]:
    """Stages as of every result; what was done instead is in the total."""
    laps = clock.timings_ms()
    return {"preprocess": 0.0, "purify": laps["degraded"], "classify": 0.0, "total": laps["total"]}
