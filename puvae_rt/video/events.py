"""What happens to a source besides frames: each a typed event, so that nothing passes for a new frame that is none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from puvae_rt.errors import VideoError


class EventKind(str, Enum):
    """What happened; the values are the names in a report."""

    CORRUPT = "corrupt_frame"  # what came could not be decoded whole, or was the last frame again: it is left out
    RESIZED = "resized"  # frames have another size from here on
    STALLED = "stalled"  # nothing came in time
    LOST = "lost"  # the other side closed the connection, or it broke
    UNPLUGGED = "unplugged"  # the camera's device is gone
    RECONNECTED = "reconnected"  # frames come again
    ENDED = "ended"  # of a source that has an end


@dataclass(frozen=True)
class Event:
    """Something that happened before frame number `frame`, at `at` seconds of time.monotonic()."""

    kind: EventKind
    frame: int
    at: float
    detail: str


class Fault(VideoError):  # noqa: N818  # the field's word
    """What keeps a reader from giving the next frame.

    Attributes:
        kind: what it is told as.
    """

    def __init__(self, kind: EventKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
