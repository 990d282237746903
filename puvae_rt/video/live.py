"""Cameras and streams: a thread reads, the newest frame is kept, what nobody took in time is counted."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from puvae_rt._moved import renamed
from puvae_rt.errors import PuvaeError, VideoError
from puvae_rt.video.capture import Capture, announced_fps, check_video, checked_frame
from puvae_rt.video.frames import Frame
from puvae_rt.video.urls import redact_url

OPEN_SECONDS, READ_SECONDS = 15.0, 5.0
# FFmpeg's own limits: shorter than ours together, so that its thread is back before anybody gives it up.
STREAM_OPEN_SECONDS, STREAM_READ_SECONDS = 10.0, 4.0
MAX_CAMERA = 255  # larger numbers mean other things to OpenCV
_CLOSE_SECONDS = 1.0  # the reader is not waited for longer: it may hang in the driver
_EXIT_SECONDS = STREAM_OPEN_SECONDS + STREAM_READ_SECONDS

_sources: weakref.WeakSet[LiveSource] = weakref.WeakSet()  # a source lives as long as its thread


class LiveSource:
    """Frames as they happen. `open_capture` is called, and everything is read, in a thread of its own.

    Raises:
        VideoError: no frame within `open_seconds` at construction, or within `read_seconds` later on; the end of the
            stream, which cannot be told from a lost connection.

    Attributes:
        name: for messages and reports; an address only without its secrets.
        fps: frames per second, as the camera announces them.
        dropped: frames that went by unseen so far.
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
        _sources.add(self)
        self._thread.start()
        try:
            with self._changed:
                self._wait(open_seconds)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Frame]:
        while True:
            yield self._take()

    def close(self) -> None:
        """Ends the reader; one that hangs in OpenCV is left behind after a second (`still_reading`)."""
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
            raise _nothing_within(self.name, seconds)
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
        check_video(capture, self.name)
        self.fps = announced_fps(capture)
        index = 0
        while not self._closed:
            started = time.monotonic()
            read, image = capture.read()
            if not read:
                if (waited := time.monotonic() - started) >= self._read_seconds / 2:
                    raise _nothing_within(self.name, round(waited, 1))
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


def still_reading() -> bool:
    """Whether a reader hangs in OpenCV, though its source was closed.

    A program that cannot wait for it leaves by os._exit: where Python ends by its own way while such a thread comes
    back, the process aborts. Otherwise Python waits at its end until the reader is back, for some seconds at most.
    """
    return any(source._thread.is_alive() for source in list(_sources))


@atexit.register
def _end_readers() -> None:
    for source in list(_sources):
        source._closed = True
    deadline = time.monotonic() + _EXIT_SECONDS
    for source in list(_sources):
        source._thread.join(max(0.0, deadline - time.monotonic()))


def open_camera(index: int) -> Capture:
    """A camera of this machine by its number."""
    capture = cv2.VideoCapture(index) if 0 <= index <= MAX_CAMERA else None
    if capture is None or not capture.isOpened():
        devices = ", ".join(sorted(path.name for path in Path("/dev").glob("video*"))) or "none"
        raise VideoError(
            f"camera {index}: cannot be opened (video devices here: {devices}); connect it, close other programs that "
            "use it, and join the group 'video' if the device exists"
        )
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver has that: the newest frame rather than a queue
    return capture


def open_stream(
    url: str, open_seconds: float = STREAM_OPEN_SECONDS, read_seconds: float = STREAM_READ_SECONDS
) -> Capture:
    """A network stream with time limits inside FFmpeg too, so that its thread ends."""
    limits = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1e3 * open_seconds)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1e3 * read_seconds)),
    ]
    name, started = redact_url(url), time.monotonic()
    try:
        url.encode("utf-8")  # OpenCV ends the process over anything else
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    except (UnicodeEncodeError, cv2.error) as error:
        raise VideoError(f"{name}: cannot be opened as a video stream; it is no URL that OpenCV takes") from error
    if capture.isOpened():
        return capture
    if (waited := time.monotonic() - started) >= open_seconds:
        raise _nothing_within(name, round(waited, 1))
    raise VideoError(
        f"{name}: cannot be opened as a video stream: nothing answers there, or with something else than a video "
        "(an error, a web page, a request for a password); check address, network and password"
    )


def _nothing_within(name: str, seconds: float) -> VideoError:
    return VideoError(f"{name}: got no frame within {seconds:g} s; check its connection and address")


_MOVED = {
    name: f"puvae_rt.video.urls:{new}" for name, new in (("without_password", "redact_url"), ("SCHEMES", "SCHEMES"))
}
__getattr__ = renamed(__name__, _MOVED)
