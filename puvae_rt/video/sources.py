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
from puvae_rt.video.live import LiveSource, open_camera, open_stream
from puvae_rt.video.truth import truth_path
from puvae_rt.video.urls import SCHEMES, SYNTHETIC, redact_url

_DIGITS = 9  # of a camera's index: more are none


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
        """Frames that went by unseen so far; always 0 for a file."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends. VideoError where it breaks off: frames seen before it are good."""

    def close(self) -> None:
        """Lets go of the camera, connection or file."""


def open_source(what: str | Path, synthetic: Callable[[], VideoSource]) -> VideoSource:
    """A path, a camera's index, a URL, or "synthetic", which calls `synthetic`.

    Raises:
        VideoError: it cannot be opened, or is not a video; `what` is of another type.
    """
    if isinstance(what, Path):
        return FileSource(what)
    if not isinstance(what, str) or not what:
        got = repr(what) if what == "" else f"{type(what).__name__}, not a string"
        raise VideoError(f"source: got {got}; expected a video file, a camera's index, a URL or {SYNTHETIC!r}")
    if what == SYNTHETIC:
        return synthetic()
    if what.isdecimal():
        return LiveSource(f"camera {what[:_DIGITS]}", lambda: open_camera(int(what[:_DIGITS])))
    scheme, separator, _ = what.partition("://")
    if not separator:
        return FileSource(Path(what))
    if scheme.lower() not in SCHEMES:
        raise VideoError(f"{redact_url(what)}: got {scheme}://, expected one of {', '.join(SCHEMES)}")
    return LiveSource(redact_url(what), lambda: open_stream(what))


def files_of(what: str) -> dict[str, Path]:
    """The files that `open_source(what)` reads, by what they are; none of a camera, a URL or the synthetic clip."""
    if what == SYNTHETIC or what.isdecimal() or "://" in what:
        return {}
    try:
        found = Path(what).is_file()
    except OSError:  # a name that no file can have
        found = False
    if not found:
        return {}
    return {"--source": Path(what), "the ground truth of --source": truth_path(Path(what))}
