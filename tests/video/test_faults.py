"""What goes wrong with cameras, each with its typed outcome; never a frame that was not sent whole."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video.events import Event, EventKind, Fault
from puvae_rt.video.feeds import OpenCvFeed
from puvae_rt.video.frames import Frame
from puvae_rt.video.jpeg import decode_jpeg
from puvae_rt.video.live import LiveSource
from puvae_rt.video.opening import open_stream
from puvae_rt.video.policy import EVERY
from puvae_rt.video.reconnect import Reconnect
from tests.video.cameras import STALL, camera, jpeg, part
from tests.video.clips import SIZE

SOON = Reconnect(first=0.02, most=0.1, give_up=5)
BRIEF = Reconnect(first=0.02, most=0.05, give_up=0.4)
WAIT = 0.5  # seconds that a reader waits here
WHOLE = [part(jpeg(level)) for level in (10, 20, 30)]


def watch(url: str, reconnect: Reconnect | None = SOON) -> LiveSource:
    return LiveSource(url, partial(open_stream, url, WAIT, WAIT), 5, 5, policy=EVERY, reconnect=reconnect)


def seen(source: LiveSource, most: int = 1000) -> list[int | str]:
    """Levels of frames, kinds of events, and the error, in their order."""
    found: list[int | str] = []
    try:
        for item in source.items():
            found.append(round(float(item.image.mean())) if isinstance(item, Frame) else item.kind.value)
            if len(found) >= most:
                break
    except VideoError as error:
        found.append(f"error: {error}")
    finally:
        source.close()
    return found


def test_a_server_that_is_killed_and_comes_back() -> None:
    with camera(WHOLE, WHOLE) as server:
        assert seen(watch(server.url), 8) == [10, 20, 30, "lost", "reconnected", 10, 20, 30]
        assert len(server.visits) == 2


def test_a_server_that_stalls() -> None:
    with camera([*WHOLE, STALL], WHOLE) as server:
        found = seen(watch(server.url), 8)
    assert found == [10, 20, 30, "stalled", "reconnected", 10, 20, 30]


def test_a_server_that_stays_away_is_given_up() -> None:
    with camera(WHOLE, [STALL]) as server:
        source = watch(server.url, BRIEF)
        started = time.monotonic()
        *found, last = seen(source)
    assert found[:4] == [10, 20, 30, "lost"] and set(found[4:]) <= {"stalled", "lost"}
    assert "lost, and no frame again within" in str(last) and time.monotonic() - started < 5


def test_without_reconnecting_the_loss_is_the_end() -> None:
    with camera(WHOLE) as server:
        *found, last = seen(watch(server.url, None))
    assert found == [10, 20, 30, "lost"]
    assert last == f"error: {server.url}: got 3 frames, then it ended or the connection was lost; reconnect"


def test_half_a_jpeg_is_no_frame() -> None:
    half = jpeg(200)[: len(jpeg(200)) // 2]
    with camera(
        [part(jpeg(10)), part(half), part(jpeg(30)), part(half, len(half) + 5), part(jpeg(50)), STALL], [STALL]
    ) as s:
        found = seen(watch(s.url), 5)
    assert found[:4] == [10, "corrupt_frame", 30, "corrupt_frame"]
    assert set(found[4:]) <= {50, "stalled", "lost", "reconnected"}  # what a wrong length swallows is lost with it


def test_another_size_in_mid_stream() -> None:
    with camera([part(jpeg(10)), part(jpeg(20, (64, 48))), part(jpeg(30, (64, 48)))], [STALL]) as server:
        source = watch(server.url)
        items = [item for _, item in zip(range(4), source.items(), strict=False)]
        source.close()
    shapes = [item.image.shape[:2] if isinstance(item, Frame) else item.kind for item in items]
    assert shapes == [(SIZE[1], SIZE[0]), EventKind.RESIZED, (48, 64), (48, 64)]
    assert isinstance(items[1], Event) and items[1].detail.endswith(": 160x120 -> 64x48")


def test_a_size_that_changes_while_it_was_lost() -> None:
    with camera(WHOLE, [part(jpeg(40, (64, 48)))]) as server:
        assert seen(watch(server.url), 7) == [10, 20, 30, "lost", "reconnected", "resized", 40]


def test_a_stream_of_nothing_but_damage_is_given_up() -> None:
    noise = [part(random.Random(i).randbytes(200)) for i in range(30)] * 4
    with camera([part(jpeg(10)), *noise]) as server:
        source = LiveSource(server.url, partial(open_stream, server.url, 5, 5), 5, 5, policy=EVERY)
        found = seen(source)
    assert found[0] == 10 and found[1:101] == ["corrupt_frame"] * 100
    assert str(found[101]).startswith(f"error: {server.url}: got 200 bytes that are no JPEG")


def test_ten_thousand_random_byte_strings_as_frames() -> None:
    draw, whole = random.Random(0), jpeg(77)
    for index in range(10_000):
        data = draw.randbytes(draw.randrange(300))
        if index % 4 == 1:
            data = b"\xff\xd8\xff" + data + b"\xff\xd9"
        elif index % 4 == 2:
            data = whole[: draw.randrange(len(whole))]
        with pytest.raises(Fault) as refused:
            decode_jpeg(data, "camera")
        assert refused.value.kind is EventKind.CORRUPT
    assert decode_jpeg(whole + b"\r\n\0", "camera").shape == (SIZE[1], SIZE[0], 3)


def test_a_refusal_is_told_without_its_secrets() -> None:
    with camera([], answer=401) as server:
        url = server.url.replace("://", "://admin:hidden@") + "?token=hidden"
        with pytest.raises(VideoError, match="got HTTP 401") as refused:
            open_stream(url, WAIT, WAIT)
    assert "hidden" not in str(refused.value) and refused.value.__cause__ is None


class Usb:
    """A camera of OpenCV's, with its driver's stamps."""

    def __init__(self, stamps: list[float]) -> None:
        self.stamps, self.stamp, self.released = list(stamps), 0.0, False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, key: int) -> float:
        return {0: 1e3 * self.stamp, 3: 160.0, 4: 120.0, 5: 30.0}.get(key, 0.0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        if not self.stamps:
            return False, None
        self.stamp = self.stamps.pop(0)
        return True, np.zeros((120, 160, 3), np.uint8)

    def release(self) -> None:
        self.released = True


def test_a_camera_that_is_unplugged_and_back(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    cameras = [Usb([0, 0]), Usb([0])]

    def plug() -> Usb:
        if not device.exists():
            device.touch()
            raise VideoError("camera 0: cannot be opened")
        return cameras.pop(0)

    source = LiveSource("camera 0", plug, 5, 5, policy=EVERY, reconnect=SOON, device=device)
    found = []
    for item in source.items():
        found.append("frame" if isinstance(item, Frame) else item.kind.value)
        if len(found) == 1:
            device.unlink()
        if len(found) == 5:
            break
    source.close()
    assert found[:2] in (["frame", "frame"],) and found[2:] in (
        ["unplugged", "reconnected", "frame"],
        ["lost", "reconnected", "frame"],
    )
    assert dict(source.counts)["reconnected"] == 1


def test_the_drivers_stamp_is_taken_where_it_can_be_true(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    now = time.monotonic()
    feed = OpenCvFeed(Usb([now - 0.02, now - 0.02, now - 500, now + 500]), "camera 0", 1, device)
    shot = feed.read()
    assert shot.clock == "v4l2" and shot.captured == pytest.approx(now - 0.02)
    with pytest.raises(Fault, match="gave the last frame again"):
        feed.read()
    assert [feed.read().clock for _ in range(2)] == ["read", "read"]
    device.unlink()
    with pytest.raises(Fault, match="the camera is gone") as gone:
        feed.read()
    assert gone.value.kind is EventKind.UNPLUGGED


def test_ages_do_not_follow_the_systems_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(jumps))
    with camera(WHOLE, [STALL]) as server:
        source = watch(server.url)
        frames = [frame for _, frame in zip(range(3), source, strict=False)]
        source.close()
    ages = [time.monotonic() - frame.captured for frame in frames]
    assert all(0 <= age < 5 for age in ages) and ages == sorted(ages, reverse=True)
