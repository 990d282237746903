"""When a lost source is tried again, and when it is given up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from puvae_rt.errors import VideoError


@dataclass(frozen=True)
class Reconnect:
    """How a source that was lost is tried again: at growing intervals, each drawn at random, up to a bound.

    Attributes:
        first, factor, most: seconds before the first try, how much longer each next one waits, and the longest wait.
        jitter: the share by which a wait is drawn shorter or longer, so that many readers do not come at once.
        give_up: seconds without a frame, from the last one on, after which the source is given up.
    """

    first: float = 0.5
    factor: float = 2.0
    most: float = 10.0
    jitter: float = 0.3
    give_up: float = 60.0

    def __post_init__(self) -> None:
        good = 0 < self.first <= self.most and self.factor >= 1 and 0 <= self.jitter < 1 and self.give_up > 0
        if not good:
            raise VideoError(f"{self}: expected 0 < first <= most, factor >= 1, 0 <= jitter < 1 and give_up > 0")


class Attempts:
    """The tries of one source. It is lost from `lost()` until `recovered()`; frames alone prove that it is back."""

    def __init__(
        self,
        rule: Reconnect,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._rule, self._clock, self._draw = rule, clock, draw
        self._since: float | None = None
        self.tries = 0

    @property
    def down(self) -> bool:
        """Whether the source is lost."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """How long it has been lost."""
        return 0.0 if self._since is None else self._clock() - self._since

    def lost(self) -> None:
        """The source gives nothing any more; its time runs from the first loss on."""
        if self._since is None:
            self._since, self.tries = self._clock(), 0

    def recovered(self) -> None:
        """A frame came."""
        self._since = None

    def next_wait(self) -> float | None:
        """Seconds to wait before the next try; None where the source is to be given up."""
        left = self._rule.give_up - self.seconds
        if left <= 0:
            return None
        steady = min(self._rule.most, self._rule.first * self._rule.factor ** min(self.tries, 64))
        self.tries += 1
        return min(left, steady * (1 + self._rule.jitter * (2 * self._draw() - 1)))
