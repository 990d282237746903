"""The one grammar of sources: what the text behind --source means.

synthetic  synthetic://                       the made-up clip, with its truth
0  /dev/video0  /dev/v4l/by-id/...            a camera of this machine
csi://0?width=1280&height=720&rate=30&flip=0  a camera on a Jetson's CSI connector
clip.mp4  folder/  session.mcap               a video, images in the order of their names, a recording
rtsp://...  http(s)://...  srt://... ...      a stream
gstreamer://v4l2src device=/dev/video0        a GStreamer pipeline without its sink
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qsl

from puvae_rt.errors import VideoError
from puvae_rt.video.urls import GSTREAMER, SCHEMES, SYNTHETIC, redact_url

CSI, RECORDING_SUFFIX = "csi", ".mcap"
EXPECTED = (
    f"expected a video file, a camera's index, a URL or {SYNTHETIC!r}; also /dev/videoN, csi://N, a folder of images, "
    "a recording (.mcap) and gstreamer://PIPELINE"
)
_DIGITS = 9  # of a camera's index: more are none
_DEVICE = re.compile(r"/dev/(?:video[0-9]+|v4l/.+)")
_CSI_OPTIONS = {"width": (64, 8192), "height": (64, 8192), "rate": (1, 240), "flip": (0, 7)}  # each with its range


class SourceKind(Enum):
    """What a source is."""

    SYNTHETIC, CAMERA, CSI, FILE, FOLDER, RECORDING, STREAM, GSTREAMER = range(8)


LIVE = (SourceKind.CAMERA, SourceKind.CSI, SourceKind.STREAM, SourceKind.GSTREAMER)


@dataclass(frozen=True)
class SourceUri:
    """A source as it was asked for.

    Attributes:
        name: for messages and reports; without secrets.
        target: the index, device, path, URL or pipeline; it may hold secrets, and is shown nowhere.
        options: numbers behind the `?` of csi://.
    """

    kind: SourceKind
    name: str
    target: str = field(default="", repr=False)
    options: Mapping[str, int] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether it goes on while nobody looks, and may be connected anew."""
        return self.kind in LIVE

    @property
    def path(self) -> Path:
        """Of a file, folder or recording."""
        return Path(self.target)


def parse_source(what: object) -> SourceUri:
    """The text behind --source, or a path; VideoError where it follows no rule of the grammar. Nothing is opened."""
    if isinstance(what, Path):
        return _on_disk(str(what))
    if not isinstance(what, str) or not what:
        got = repr(what) if what == "" else f"{type(what).__name__}, not a string"
        raise VideoError(f"source: got {got}; {EXPECTED}")
    if what.isdecimal():
        return SourceUri(SourceKind.CAMERA, f"camera {what[:_DIGITS]}", str(int(what[:_DIGITS])))
    if _DEVICE.fullmatch(what):
        return SourceUri(SourceKind.CAMERA, f"camera {what}", what)
    scheme, separator, rest = what.partition("://")
    if not separator:
        return SourceUri(SourceKind.SYNTHETIC, SYNTHETIC) if what == SYNTHETIC else _on_disk(what)
    scheme = scheme.lower()
    if scheme == SYNTHETIC:
        if rest:
            raise VideoError(f"{redact_url(what)}: got more than {SYNTHETIC}://, expected nothing behind it")
        return SourceUri(SourceKind.SYNTHETIC, SYNTHETIC)
    if scheme == CSI:
        return _csi(rest)
    if scheme == GSTREAMER:
        if not rest.strip():
            raise VideoError(f"{GSTREAMER}://: got no pipeline, expected one without a sink, as {GSTREAMER}://v4l2src")
        return SourceUri(SourceKind.GSTREAMER, redact_url(what), rest)
    if scheme in SCHEMES:
        return SourceUri(SourceKind.STREAM, redact_url(what), what)
    known = ", ".join((*SCHEMES, CSI, GSTREAMER, SYNTHETIC))
    raise VideoError(f"{redact_url(what)}: got {redact_url(what).partition('://')[0]}://, expected one of {known}")


def _on_disk(text: str) -> SourceUri:
    path = Path(text)
    try:
        folder = path.is_dir()
    except (OSError, ValueError):  # a name that nothing can have: opening it says so
        folder = False
    kind = SourceKind.RECORDING if path.suffix.lower() == RECORDING_SUFFIX else SourceKind.FILE
    return SourceUri(SourceKind.FOLDER if folder else kind, redact_url(text), text)


def _csi(rest: str) -> SourceUri:
    """N?width=W&height=H&rate=R&flip=F, all of it optional."""
    number, _, query = rest.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    good = (not number or number.isdecimal()) and len(number) < 3
    for name, value in given.items():
        least, most = _CSI_OPTIONS.get(name, (1, 0))
        good &= value.isdecimal() and len(value) < 6 and least <= int(value) <= most
    if not good:
        allowed = ", ".join(f"{name} {least} to {most}" for name, (least, most) in _CSI_OPTIONS.items())
        raise VideoError(f"{CSI}://{rest[:80]}: expected {CSI}://N?name=number&... with {allowed}")
    return SourceUri(SourceKind.CSI, f"{CSI}://{rest}", number or "0", {name: int(v) for name, v in given.items()})
