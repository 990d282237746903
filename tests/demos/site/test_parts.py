"""The channel and the source of the server, by themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from demos.site import unending
from demos.site.channel import Channel
from demos.site.unending import Unending
from puvae_rt.errors import VideoError
from puvae_rt.video.frames import Frame


def test_the_latest_message_alone_is_kept() -> None:
    async def look() -> list[tuple[int, bytes]]:
        channel = Channel()
        channel.open()
        found = []
        for _ in range(3):
            threads = [threading.Thread(target=channel.publish, args=(b"%d" % n,)) for n in range(50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found.append(await channel.after(found[-1][0] if found else 0))
        channel.close()
        channel.publish(b"nobody looks")
        return found

    assert [number for number, _ in asyncio.run(look())] == [50, 100, 150]


def test_who_waits_is_woken() -> None:
    async def look() -> tuple[int, bytes]:
        channel = Channel()
        channel.open()
        waiting = asyncio.create_task(channel.after(0))
        await asyncio.sleep(0)
        thread = threading.Thread(target=channel.publish, args=(b"news",))
        thread.start()
        found = await asyncio.wait_for(waiting, 20)
        thread.join()
        return found

    assert asyncio.run(look()) == (1, b"news")


class Clip:
    """Two frames, then its end or an error."""

    name, fps, dropped = "clip", 30.0, 1

    def __init__(self, error: str = "") -> None:
        self.error, self.closed, self.counts = error, False, {"lost": 1}

    def __iter__(self) -> Iterator[Frame]:
        for index in range(2):
            yield Frame(np.zeros((4, 4, 3), np.uint8), index)
        if self.error:
            raise VideoError(self.error)

    def close(self) -> None:
        self.closed = True


def test_a_source_goes_on_at_its_end_and_after_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = list[float]()
    monkeypatch.setattr(unending.time, "sleep", waits.append)
    clips = [Clip(), Clip("camera 0: it was unplugged"), Clip(), Clip()]
    opened = iter([clips[0], clips[1], VideoError("camera 0: not there"), clips[2], clips[3]])

    def opening() -> Clip:
        if isinstance(found := next(opened), VideoError):
            raise found
        return found

    source = Unending(opening)
    frames = iter(source)
    errors = []
    for _ in range(7):
        next(frames)
        errors.append(source.error)
    assert errors == [""] * 7 and waits == [unending.RETRY_SECONDS] * 2
    assert [clip.closed for clip in clips] == [True, True, True, False]
    assert (source.read, source.dropped, source.counts["lost"]) == (7, 4, 4)
    source.close()
    assert clips[3].closed and source.read == 7


def test_what_cannot_be_opened_at_first_is_an_error() -> None:
    def opening() -> Clip:
        raise VideoError("camera 0: not there")

    with pytest.raises(VideoError, match="not there"):
        Unending(opening)
