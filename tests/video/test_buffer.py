from __future__ import annotations

import threading

import numpy as np
import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video.buffer import FrameBuffer
from puvae_rt.video.events import Event, EventKind
from puvae_rt.video.frames import Frame
from puvae_rt.video.policy import EVERY, LATEST, Policy

PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(index: int) -> Frame:
    return Frame(PIXELS, index)


def event(index: int = 0) -> Event:
    return Event(EventKind.CORRUPT, index, 0.0, "")


def taken(buffer: FrameBuffer) -> list[int | str]:
    """Everything that waits: indices of frames, "event" for the others."""
    buffer.end()
    found: list[int | str] = []
    while (item := buffer.take(1)) is not None:
        found.append(item.index if isinstance(item, Frame) else "event")
    return found


@pytest.mark.parametrize("text, kept", [("latest", [4]), ("queue=1", [4]), ("queue=3", [2, 3, 4])])
def test_the_oldest_is_dropped_and_counted(text: str, kept: list[int]) -> None:
    buffer = FrameBuffer(Policy.parse(text))
    for index in range(5):
        buffer.put(frame(index))
    assert taken(buffer) == kept and buffer.dropped == 5 - len(kept)


def test_every_waits_for_room() -> None:
    buffer, put = FrameBuffer(EVERY), []

    def read() -> None:
        for index in range(3 * EVERY.size):
            buffer.put(frame(index))
            put.append(index)
        buffer.end()

    reader = threading.Thread(target=read)
    reader.start()
    seen = []
    while (item := buffer.take(5)) is not None:
        seen.append(item.index)
        assert len(put) <= len(seen) + EVERY.size
    reader.join()
    assert seen == list(range(3 * EVERY.size)) and buffer.dropped == 0


def test_a_reader_that_waits_is_let_go() -> None:
    buffer, last = FrameBuffer(EVERY), []
    reader = threading.Thread(target=lambda: last.extend(buffer.put(frame(i)) for i in range(EVERY.size + 1)))
    reader.start()
    buffer.close()
    reader.join(5)
    assert not reader.is_alive() and last[-1] is False


def test_events_keep_their_place_and_are_bounded() -> None:
    buffer = FrameBuffer(LATEST)
    buffer.put(frame(0))
    buffer.note(event())
    buffer.put(frame(1))
    buffer.note(event())
    assert taken(buffer) == ["event", 1, "event"] and buffer.dropped == 1
    buffer = FrameBuffer(LATEST)
    for _ in range(1000):
        buffer.note(event())
    assert buffer.counts == {"corrupt_frame": 1000} and len(taken(buffer)) == 256


def test_what_came_before_the_end_is_taken_first() -> None:
    buffer = FrameBuffer(LATEST)
    buffer.put(frame(0))
    buffer.end(VideoError("lost"))
    assert buffer.take(1).index == 0
    with pytest.raises(VideoError, match="lost"):
        buffer.take(1)
    with pytest.raises(TimeoutError):
        FrameBuffer(LATEST).take(0.01)


@pytest.mark.parametrize(
    "text", ["", "newest", "queue", "queue=", "queue=0", "queue=-1", "queue=9999", "queue=٣", "every=2"]
)
def test_policies_that_are_none(text: str) -> None:
    with pytest.raises(VideoError, match="expected latest, queue=N"):
        Policy.parse(text)


@pytest.mark.parametrize("text", ["latest", "queue=7", "every"])
def test_a_policy_tells_its_name(text: str) -> None:
    assert str(Policy.parse(text)) == text
