"""Frames of a file, folder, recording or clip at the times of a camera, so that a run can keep or miss a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from puvae_rt.errors import VideoError
from puvae_rt.video.buffer import FrameBuffer
from puvae_rt.video.events import Event
from puvae_rt.video.frames import SCHEDULE_CLOCK, Frame
from puvae_rt.video.policy import LATEST, Policy
from puvae_rt.video.source import VideoSource

_CLOSE_SECONDS = 2.0
_WAIT_SECONDS = 60.0  # for a frame that is due; a file on a slow disk may take its time


class PacedSource:
    """Gives each frame when it is due: at a constant `rate`, or where `rate` is None at its own place in the source.

    A frame's stamp is the time at which it was due, whatever held it up: the consumer, who lets frames wait or drop,
    or the source, which came too late. So nothing that was late is left out of a frame's age.

    Args:
        source: it is read in a thread of its own, and closed with this one.
        rate: frames a second.
        policy: which frames are kept for a consumer that is slower.
    """

    def __init__(self, source: VideoSource, rate: float | None, policy: Policy = LATEST) -> None:
        self.name, self.fps = source.name, rate or source.fps
        self._source, self._rate = source, rate
        self._buffer, self._closing = FrameBuffer(policy), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"paced {self.name}", daemon=True)
        self._begun = False

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
        return self._source.counts

    def __iter__(self) -> Iterator[Frame]:
        return (item for item in self.items() if isinstance(item, Frame))

    def items(self) -> Iterator[Frame | Event]:
        """Frames; the clock starts with the first call."""
        if not self._begun:
            self._begun = True
            self._thread.start()
        while True:
            try:
                item = self._buffer.take(_WAIT_SECONDS)
            except TimeoutError:
                raise VideoError(f"{self.name}: got no frame within {_WAIT_SECONDS:g} s; its disk may hang") from None
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Ends the thread, and closes the source."""
        self._closing.set()
        self._buffer.close()
        if self._begun:
            self._thread.join(_CLOSE_SECONDS)
        self._source.close()

    def _run(self) -> None:
        try:
            start: float | None = None
            for frame in self._source:
                due = self._due(frame)
                start = time.monotonic() - due if start is None else start
                if self._closing.wait(max(0.0, start + due - time.monotonic())):
                    break
                self._buffer.put(replace(frame, captured=start + due, clock=SCHEDULE_CLOCK))
            self._buffer.end()
        except Exception as error:  # carried over to the thread that asks for frames
            self._buffer.end(error)

    def _due(self, frame: Frame) -> float:
        """Seconds from the beginning."""
        if self._rate is None and frame.seconds is not None:
            return frame.seconds
        return frame.index / self.fps
