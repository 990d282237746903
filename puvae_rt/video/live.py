"""Cameras and streams: a thread reads, a policy says which frames are kept, what nobody took in time is counted."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from puvae_rt._moved import renamed
from puvae_rt.errors import PuvaeError, VideoError
from puvae_rt.video.buffer import FrameBuffer
from puvae_rt.video.capture import Capture
from puvae_rt.video.events import Event, EventKind, Fault
from puvae_rt.video.feeds import Feed, OpenCvFeed, Shot, nothing_within
from puvae_rt.video.frames import Frame
from puvae_rt.video.policy import LATEST, Policy
from puvae_rt.video.reconnect import Attempts, Reconnect

OPEN_SECONDS, READ_SECONDS = 15.0, 5.0
# FFmpeg's own limits: shorter than ours together, so that its thread is back before anybody gives it up.
STREAM_OPEN_SECONDS, STREAM_READ_SECONDS = 10.0, 4.0
_MOST_CORRUPT = 100  # corrupt frames one behind the other, after which a connection is taken for lost
_CLOSE_SECONDS = 1.0  # the reader is not waited for longer: it may hang in the driver
_EXIT_SECONDS = STREAM_OPEN_SECONDS + STREAM_READ_SECONDS

_sources: weakref.WeakSet[LiveSource] = weakref.WeakSet()  # a source lives as long as its thread


class LiveSource:
    """Frames as they happen. `open_capture` is called, and everything is read, in a thread of its own.

    Where the source is lost, it is opened anew as `reconnect` says; without one, the loss is an error.

    Args:
        name: for messages; an address only without its secrets.
        open_capture: opens what frames are read from.
        open_seconds: until the first frame.
        read_seconds: between two frames; after that the source has stalled.
        policy: which frames are kept for a consumer that is slower.
        reconnect: how a lost source is tried again; None is not at all.
        device: of a camera, which is gone when it was unplugged.
    Raises:
        VideoError: no frame within `open_seconds` at construction; while it is iterated: the source stalled, was lost,
            or did not come back.

    Attributes:
        name: as given.
        fps: frames per second, as the camera announces them.
    """

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], Capture | Feed],
        open_seconds: float = OPEN_SECONDS,
        read_seconds: float = READ_SECONDS,
        *,
        policy: Policy = LATEST,
        reconnect: Reconnect | None = None,
        device: Path | None = None,
    ) -> None:
        self.name, self.fps = name, 0.0
        self._open_capture, self._read_seconds, self._device = open_capture, read_seconds, device
        self._reconnect, self._attempts = reconnect, Attempts(reconnect or Reconnect())
        self._buffer = FrameBuffer(policy)
        self._index = 0
        self._size: tuple[int, int] | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        _sources.add(self)
        self._thread.start()
        try:
            if not self._buffer.wait(open_seconds):
                raise VideoError(nothing_within(self.name, open_seconds))
            self._buffer.raise_if_dead()
        except BaseException:
            self.close()
            raise

    @property
    def read(self) -> int:
        """Frames that were read so far, seen or not."""
        return self._buffer.read

    @property
    def dropped(self) -> int:
        """Frames that went by unseen so far."""
        return self._buffer.dropped

    @property
    def counts(self) -> Mapping[str, int]:
        """Events so far, by kind."""
        return self._buffer.counts

    def __iter__(self) -> Iterator[Frame]:
        return (item for item in self.items() if isinstance(item, Frame))

    def items(self) -> Iterator[Frame | Event]:
        """Frames with the events between them, in their order."""
        bound = self._read_seconds if self._reconnect is None else self._reconnect.give_up + self._read_seconds
        while True:
            try:
                item = self._buffer.take(bound)
            except TimeoutError:
                raise VideoError(nothing_within(self.name, bound)) from None
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Ends the reader; one that hangs in OpenCV is left behind after a second (`still_reading`)."""
        self._stop()
        self._thread.join(_CLOSE_SECONDS)

    def _stop(self) -> None:
        self._closing.set()
        self._buffer.close()

    def _run(self) -> None:
        """The reader: opens, reads until the source is lost, waits, opens again."""
        try:
            self._read_all(self._open())
            while not self._closing.is_set() and (feed := self._open_again()) is not None:
                self._read_all(feed)
            self._buffer.end()
        except Exception as error:  # carried over to the thread that asks for frames
            ours = isinstance(error, PuvaeError)
            self._buffer.end(error if ours else VideoError(f"{self.name}: the reader failed: {error}"))

    def _open(self) -> Feed:
        opened = self._open_capture()
        feed = opened if isinstance(opened, Feed) else OpenCvFeed(opened, self.name, self._read_seconds, self._device)
        self.fps = feed.fps
        return feed

    def _read_all(self, feed: Feed) -> None:
        """Until it is closed, or lost; a Fault where it may not be opened again."""
        broken = 0
        try:
            while not self._closing.is_set():
                try:
                    shot = feed.read()
                except Fault as fault:
                    broken = broken + 1 if fault.kind is EventKind.CORRUPT else 0
                    if fault.kind is EventKind.CORRUPT and broken < _MOST_CORRUPT:
                        self._note(EventKind.CORRUPT, str(fault))
                        continue
                    return self._lose(fault)
                broken = 0
                self._put(shot)
        finally:
            feed.close()
        return None

    def _lose(self, fault: Fault) -> None:
        self._note(fault.kind, str(fault))
        if self._reconnect is None:
            message = str(fault).removeprefix(f"{self.name}: ")
            ended = fault.kind is EventKind.LOST
            raise VideoError(f"{self.name}: {f'got {self._index} frames, then ' if ended else ''}{message}") from fault
        self._attempts.lost()

    def _open_again(self) -> Feed | None:
        """The source, opened anew; None when it was closed meanwhile. VideoError once it is given up."""
        reason = "it was lost"
        while (wait := self._attempts.next_wait()) is not None:
            if self._closing.wait(wait):
                return None
            try:
                return self._open()
            except VideoError as error:
                reason = str(error).removeprefix(f"{self.name}: ")
        raise VideoError(
            f"{self.name}: lost, and no frame again within {self._attempts.seconds:.0f} s and {self._attempts.tries} "
            f"tries; the last one: {reason}"
        )

    def _put(self, shot: Shot) -> None:
        if self._attempts.down:
            self._note(EventKind.RECONNECTED, f"{self.name}: back after {self._attempts.seconds:.1f} s")
            self._attempts.recovered()
        size = shot.image.shape[1], shot.image.shape[0]
        if self._size is not None and self._size != size:
            self._note(EventKind.RESIZED, f"{self.name}: {self._size[0]}x{self._size[1]} -> {size[0]}x{size[1]}")
        self._size = size
        self._buffer.put(Frame(shot.image, self._index, captured=shot.captured, clock=shot.clock))
        self._index += 1

    def _note(self, kind: EventKind, detail: str) -> None:
        self._buffer.note(Event(kind, self._index, time.monotonic(), detail))


def still_reading() -> bool:
    """Whether a reader hangs in OpenCV, though its source was closed.

    A program that cannot wait for it leaves by os._exit: where Python ends by its own way while such a thread comes
    back, the process aborts. Otherwise Python waits at its end until the reader is back, for some seconds at most.
    """
    return any(source._thread.is_alive() for source in list(_sources))


@atexit.register
def _end_readers() -> None:
    for source in list(_sources):
        source._stop()
    deadline = time.monotonic() + _EXIT_SECONDS
    for source in list(_sources):
        source._thread.join(max(0.0, deadline - time.monotonic()))


_MOVED = {
    name: f"puvae_rt.video.urls:{new}" for name, new in (("without_password", "redact_url"), ("SCHEMES", "SCHEMES"))
}
__getattr__ = renamed(__name__, _MOVED)
