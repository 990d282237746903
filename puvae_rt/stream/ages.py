"""How old frames are when their label is there, in bounded memory, and whether a run kept its deadline."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from puvae_rt.runtime.latency import PERCENTILES, Summary, summary

EXACT = 1 << 17  # values that are kept as they are: more than 100,000 frames
RECENT = 300  # frames in the figures on a picture
DEADLINE_SHARE = 0.001  # of the frames that may be late: the 99.9th percentile
_LEAST, _PER_OCTAVE, _OCTAVES = 2.0**-10, 720, 32  # milliseconds; bins a thousandth wide, up to an hour


class Percentiles:
    """Percentiles of any number of values above 0: exact up to `EXACT` of them, from there on a thousandth too high.

    Memory is bounded: a megabyte for the exact ones, and bins.
    """

    def __init__(self) -> None:
        self.count = 0
        self._most = 0.0
        self._exact = np.empty(0, np.float64)
        self._bins: np.ndarray[Any, np.dtype[np.int64]] | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)

    def add(self, value: float) -> None:
        """One more value."""
        if self._bins is None and self.count == len(self._exact):
            self._grow()
        if self._bins is None:
            self._exact[self.count] = value
        else:
            self._bins[_bin(value)] += 1
        self.count += 1
        self._most = max(self._most, value)
        self._recent.append(value)

    def summary(self, recent: bool = False) -> Summary:
        """Of all values, or of the last `RECENT`."""
        if recent:
            return summary(self._recent)
        if self._bins is None:
            return summary(self._exact[: self.count])
        edges = np.cumsum(self._bins)
        ranks = [math.ceil(share / 100 * self.count) for share in PERCENTILES.values()]
        found = [_upper_edge(int(np.searchsorted(edges, max(1, rank)))) for rank in ranks]
        return dict(zip(PERCENTILES, [min(value, self._most) for value in found[:-1]] + [self._most], strict=True))

    def _grow(self) -> None:
        if self.count < EXACT:
            self._exact = np.concatenate([self._exact, np.empty(max(1024, len(self._exact)), np.float64)])
            return
        self._bins = np.zeros(_PER_OCTAVE * _OCTAVES + 1, np.int64)
        np.add.at(self._bins, [_bin(value) for value in self._exact], 1)
        self._exact = self._exact[:0]


def _bin(value: float) -> int:
    return min(_PER_OCTAVE * _OCTAVES, max(0, math.ceil(_PER_OCTAVE * math.log2(max(value, _LEAST) / _LEAST))))


def _upper_edge(index: int) -> float:
    return float(_LEAST * 2 ** (index / _PER_OCTAVE))


class AgeMeter:
    """Ages of frames at their label, by the clock that stamped them, and what missed the deadline.

    Attributes:
        slo_ms: the deadline; None is none.
        missed: frames whose label came later.
        clocks: frames by the clock of their stamp.
    """

    def __init__(self, slo_ms: float | None = None) -> None:
        self.slo_ms, self.missed, self.clocks = slo_ms, 0, Counter[str]()
        self.ages = Percentiles()
        self._last, self._changes = math.nan, 0.0

    def add(self, age_ms: float, clock: str) -> None:
        """One frame, from its stamp up to its label."""
        self.ages.add(age_ms)
        self.clocks[clock] += 1
        self.missed += self.slo_ms is not None and age_ms > self.slo_ms
        if not math.isnan(self._last):
            self._changes += abs(age_ms - self._last)
        self._last = age_ms

    @property
    def jitter_ms(self) -> float | None:
        """The mean change of the age from one frame to the next."""
        return self._changes / (self.ages.count - 1) if self.ages.count > 1 else None

    def kept(self, dropped: int) -> bool | None:
        """Whether at most one frame in a thousand was late; one that was dropped has no label, and is late, too.

        None without a deadline; False without a frame.
        """
        if self.slo_ms is None:
            return None
        frames = self.ages.count + dropped
        return self.ages.count > 0 and self.missed + dropped <= DEADLINE_SHARE * frames

    def document(self, dropped: int) -> dict[str, Any]:
        """For a report's JSON."""
        slo = None if self.slo_ms is None else {"ms": self.slo_ms, "missed": self.missed, "kept": self.kept(dropped)}
        found: Mapping[str, Any] = {
            "age_ms": self.ages.summary(),
            "jitter_ms": self.jitter_ms,
            "clock": dict(self.clocks),
            "slo": slo,
        }
        return dict(found)
