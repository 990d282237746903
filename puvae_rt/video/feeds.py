"""What a reader's thread reads from: one open connection to a camera or a stream."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import cv2

from puvae_rt.video.capture import Capture, announced_fps, check_video, checked_frame
from puvae_rt.video.events import EventKind, Fault
from puvae_rt.video.frames import READ_CLOCK, V4L2_CLOCK, Pixels

_OLDEST_STAMP = 30.0  # seconds: a driver's stamp that is older, or of the future, is of another clock


class Shot(NamedTuple):
    """A picture, when it was taken in seconds of time.monotonic(), and by which clock."""

    image: Pixels
    captured: float
    clock: str


class Feed(ABC):
    """An open connection; `fps` is what it announces."""

    fps: float

    @abstractmethod
    def read(self) -> Shot:
        """The next picture; Fault with what keeps it back, VideoError where nothing more can be read at all."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of it."""


class OpenCvFeed(Feed):
    """A capture of OpenCV's.

    Args:
        capture: it is open.
        name: for messages.
        read_seconds: the time in which a read that fails has stalled, rather than lost its source.
        device: the camera's, which is gone when it was unplugged.
    """

    def __init__(self, capture: Capture, name: str, read_seconds: float, device: Path | None = None) -> None:
        self._capture, self._name, self._read_seconds, self._device = capture, name, read_seconds, device
        self._last_stamp, self._index = 0.0, 0
        try:
            check_video(capture, name)
        except BaseException:
            capture.release()
            raise
        self.fps = announced_fps(capture)

    def read(self) -> Shot:
        """The next picture, stamped by the driver where it does that."""
        started = time.monotonic()
        read, image = self._capture.read()
        now = time.monotonic()
        if not read:
            raise self._fault(now - started)
        pixels = checked_frame(image, self._name, self._index)
        self._index += 1
        stamp = self._stamp(now)
        if stamp is None:
            return Shot(pixels, now, READ_CLOCK)
        if stamp == self._last_stamp:
            raise Fault(EventKind.CORRUPT, f"{self._name}: the driver gave the last frame again")
        self._last_stamp = stamp
        return Shot(pixels, stamp, V4L2_CLOCK)

    def close(self) -> None:
        """Releases the capture."""
        self._capture.release()

    def _stamp(self, now: float) -> float | None:
        """V4L2's, which runs on the clock of time.monotonic()."""
        if self._device is None:
            return None
        stamp = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        return stamp if now - _OLDEST_STAMP < stamp <= now else None

    def _fault(self, waited: float) -> Fault:
        if self._device is not None and not self._device.exists():
            return Fault(EventKind.UNPLUGGED, f"{self._name}: the camera is gone ({self._device}); plug it in again")
        if waited >= self._read_seconds / 2:
            return Fault(EventKind.STALLED, nothing_within(self._name, round(waited, 1)))
        return Fault(EventKind.LOST, f"{self._name}: it ended or the connection was lost; reconnect")


def nothing_within(name: str, seconds: float) -> str:
    """The message of a source that gives no frame in time."""
    return f"{name}: got no frame within {seconds:g} s; check its connection and address"
