"""Where frames come from: a file, a camera, a stream, or the synthetic clip. They differ in what slowness does.

A file waits: every frame is seen. A camera or a stream does not: only its newest frame is worth having, and those
that went by unseen are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from puvae_rt.errors import VideoError
from puvae_rt.video.files import FileSource
from puvae_rt.video.frames import Frame
from puvae_rt.video.live import SCHEMES, LiveSource, open_camera, open_stream, without_password

SYNTHETIC = "synthetic"


class VideoSource(Protocol):
    """An open source of BGR frames."""

    @property
    def name(self) -> str: ...

    @property
    def fps(self) -> float:
        """Frames per second, as the source announces them."""

    @property
    def dropped(self) -> int:
        """Frames that went by unseen so far; always 0 for a file."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends. VideoError where it breaks off: frames seen before it are good."""

    def close(self) -> None: ...


def open_source(what: str, synthetic: Callable[[], VideoSource]) -> VideoSource:
    """A path, a camera's index, a URL, or "synthetic", which calls `synthetic`.

    Raises:
        VideoError: it cannot be opened, or is not a video.
    """
    if what == SYNTHETIC:
        return synthetic()
    if what.isdecimal():
        return LiveSource(f"camera {what}", lambda: open_camera(int(what)))
    scheme, separator, _ = what.partition("://")
    if not separator:
        return FileSource(Path(what))
    if scheme.lower() not in SCHEMES:
        raise VideoError(f"{without_password(what)}: got {scheme}://, expected one of {', '.join(SCHEMES)}")
    return LiveSource(without_password(what), lambda: open_stream(what))
