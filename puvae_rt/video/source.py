"""What every source of frames is like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from puvae_rt.video.frames import Frame


class VideoSource(Protocol):
    """An open source of BGR frames."""

    @property
    def name(self) -> str:
        """For messages and reports; an address without its secrets."""

    @property
    def fps(self) -> float:
        """Frames per second, as the source announces them."""

    @property
    def dropped(self) -> int:
        """Frames that went by unseen so far; always 0 for a file that is not paced."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What else happened so far: events by the name of their kind."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends. VideoError where it breaks off: frames seen before it are good."""

    def close(self) -> None:
        """Lets go of the camera, connection or file."""
