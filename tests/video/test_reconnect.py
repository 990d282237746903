from __future__ import annotations

import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video.reconnect import Attempts, Reconnect


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def waits(rule: Reconnect, draw: float, each: float = 0.0) -> list[float]:
    """The waits until it gives up; every try takes `each` seconds more than its wait."""
    clock, found = Clock(), []
    attempts = Attempts(rule, clock, lambda: draw)
    attempts.lost()
    while (wait := attempts.next_wait()) is not None:
        found.append(wait)
        clock.now += wait + each
    assert len(found) == attempts.tries
    return found


def test_waits_grow_up_to_the_most_and_end_at_the_bound() -> None:
    rule = Reconnect(first=1, factor=2, most=5, jitter=0, give_up=20)
    assert waits(rule, 0.5) == [1, 2, 4, 5, 5, 3]
    assert sum(waits(rule, 0.5, each=3)) < 20


def test_waits_are_drawn_at_random() -> None:
    rule = Reconnect(first=1, factor=1, most=1, jitter=0.25, give_up=3)
    assert waits(rule, 0.0)[0] == 0.75 and waits(rule, 1.0)[0] == 1.25


def test_only_a_frame_sets_the_time_back() -> None:
    """A server that takes every connection and sends nothing is given up all the same."""
    clock = Clock()
    attempts = Attempts(Reconnect(first=1, give_up=10), clock)
    attempts.lost()
    clock.now += 6
    attempts.lost()  # connected, and lost again
    assert attempts.down and attempts.seconds == 6
    attempts.recovered()
    assert not attempts.down and attempts.seconds == 0
    attempts.lost()
    assert attempts.seconds == 0 and attempts.tries == 0


@pytest.mark.parametrize("wrong", [{"first": 0}, {"first": 20}, {"factor": 0.5}, {"jitter": 1}, {"give_up": 0}])
def test_settings_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(VideoError, match="expected 0 < first"):
        Reconnect(**wrong)
