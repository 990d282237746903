"""A source for a server, which goes on when a file has ended and tries again when a camera is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from puvae_rt.errors import VideoError
from puvae_rt.video.frames import Frame
from puvae_rt.video.source import VideoSource
from puvae_rt.video.sources import frames_read

RETRY_SECONDS = 5.0


class Unending:
    """A source that is opened anew at its end, and again and again where it breaks off.

    Args:
        opening: opens it; the first time at once, and what fails then is raised.
        retry_seconds: between two attempts.

    Attributes:
        name, fps: of the source.
        error: what ended it last, without secrets; "" while frames come.
    """

    def __init__(self, opening: Callable[[], VideoSource], retry_seconds: float = RETRY_SECONDS) -> None:
        self._open, self._retry_seconds = opening, retry_seconds
        self._now: VideoSource | None = opening()
        self.name, self.fps, self.error = self._now.name, self._now.fps, ""
        self._dropped, self._read, self._shown = 0, 0, 0
        self._counts = Counter[str]()

    @property
    def read(self) -> int:
        """Frames that were read so far, seen or not."""
        return self._read + (0 if self._now is None else frames_read(self._now, self._shown))

    @property
    def dropped(self) -> int:
        """Frames that went by unseen so far."""
        return self._dropped + (0 if self._now is None else self._now.dropped)

    @property
    def counts(self) -> Mapping[str, int]:
        """Events so far, by the name of their kind."""
        return self._counts + Counter(dict(self._now.counts) if self._now is not None else {})

    def __iter__(self) -> Iterator[Frame]:
        """Frames, for ever; who takes them may have to wait long."""
        while True:
            before = self.read
            try:
                if self._now is None:
                    self._now = self._open()
                for frame in self._now:
                    self._shown, self.error = self._shown + 1, ""
                    yield frame
            except VideoError as error:
                self.error = str(error)
            nothing = self.read == before
            self.close()
            if self.error or nothing:
                time.sleep(self._retry_seconds)

    def close(self) -> None:
        """Lets go of the source, and keeps its counts."""
        if self._now is None:
            return
        self._now.close()
        self._dropped, self._read, self._counts = self.dropped, self.read, Counter(self.counts)
        self._now, self._shown = None, 0
