"""Cameras and streams: a thread reads, the newest frame is kept, what nobody took in time is counted."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from puvae_rt.errors import PuvaeError, VideoError
from puvae_rt.video.capture import Capture, announced_fps, check_size, checked_frame
from puvae_rt.video.frames import Frame

SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt")
OPEN_SECONDS, READ_SECONDS = 15.0, 5.0
_CLOSE_SECONDS = 1.0  # the reader is not waited for longer: it may hang in the driver


class LiveSource:
    """Frames as they happen. `open_capture` is called, and everything is read, in a thread of its own.

    Raises:
        VideoError: no frame within `open_seconds` at construction, or within `read_seconds` later on; the end of the
            stream, which cannot be told from a lost connection.
    """

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], Capture],
        open_seconds: float = OPEN_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self.name, self.fps, self.dropped = name, 0.0, 0
        self._read_seconds = read_seconds
        self._changed = threading.Condition()
        self._latest: Frame | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, args=(open_capture,), name=name, daemon=True)
        self._thread.start()
        with self._changed:
            try:
                self._wait(open_seconds)
            except VideoError:
                self._closed = True
                raise

    def __iter__(self) -> Iterator[Frame]:
        while True:
            yield self._take()

    def close(self) -> None:
        with self._changed:
            self._closed = True
        self._thread.join(_CLOSE_SECONDS)

    def _take(self) -> Frame:
        """The newest frame not yet seen; a pending one before the error that followed it."""
        with self._changed:
            frame, self._latest = self._wait(self._read_seconds), None
            return frame

    def _wait(self, seconds: float) -> Frame:
        """The newest frame, left in its place; the lock is held."""
        if not self._changed.wait_for(lambda: self._latest is not None or self._error is not None, seconds):
            raise VideoError(f"{self.name}: got no frame within {seconds:g} s; check its connection and address")
        if self._latest is None:
            assert self._error is not None
            raise self._error
        return self._latest

    def _run(self, open_capture: Callable[[], Capture]) -> None:
        try:
            capture = open_capture()
            try:
                self._read(capture)
            finally:
                capture.release()
        except Exception as error:  # carried over to the thread that asks for frames
            wrapped = error if isinstance(error, PuvaeError) else VideoError(f"{self.name}: the reader failed: {error}")
            with self._changed:
                self._error = wrapped
                self._changed.notify_all()

    def _read(self, capture: Capture) -> None:
        check_size(capture, self.name)
        self.fps = announced_fps(capture)
        index = 0
        while not self._closed:
            read, image = capture.read()
            if not read:
                raise VideoError(
                    f"{self.name}: got {index} frames, then it ended or the connection was lost; reconnect"
                )
            self._put(Frame(checked_frame(image, self.name, index), index))
            index += 1

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self.dropped += self._latest is not None
            self._latest = frame
            self._changed.notify_all()


def open_camera(index: int) -> Capture:
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        devices = ", ".join(sorted(path.name for path in Path("/dev").glob("video*"))) or "none"
        raise VideoError(
            f"camera {index}: cannot be opened (video devices here: {devices}); connect it, close other programs that "
            "use it, and join the group 'video' if the device exists"
        )
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver has that: the newest frame rather than a queue
    return capture


def open_stream(url: str, open_seconds: float = OPEN_SECONDS, read_seconds: float = READ_SECONDS) -> Capture:
    """A network stream with time limits inside FFmpeg too, so that its thread ends."""
    limits = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1e3 * open_seconds)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1e3 * read_seconds)),
    ]
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        raise VideoError(f"{without_password(url)}: cannot be opened as a video stream; check address and network")
    return capture


def without_password(url: str) -> str:
    """For messages: rtsp://user:secret@host -> rtsp://user:***@host."""
    return re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", url)
