"""The signs of street scenes, as a JSON file beside them tells: name of the image -> [{class, box}]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from puvae_rt.contract import MAX_CLASSES
from puvae_rt.errors import VideoError
from puvae_rt.runtime.assets import ASSETS
from puvae_rt.schema import decode, integer, read_json
from puvae_rt.video.capture import MAX_SIDE
from puvae_rt.video.frames import Box

SCENES = ASSETS / "road"  # three that ship; README.md there says whose they are
LEAST_SIDE = 16  # pixels: what is smaller shows too little to be read
MARGIN = 0.1  # of a sign's side, cut on every side of its box: the training images have about as much
_SUFFIX = "boxes.json"
_MAX_BYTES = 16 << 20
_REMEDY = 'expected {"scene.jpg": [{"class": 0, "box": [left, top, right, bottom]}]}; mend or remove the file'
Pixel = Annotated[int, integer(0, MAX_SIDE)]


@dataclass(frozen=True)
class Sign:
    """One sign on a frame: its class, None where nobody knows it, and its box."""

    label: int | None
    box: Box


class _Stored(msgspec.Struct, rename={"label": "class"}):
    label: Annotated[int, integer(0, MAX_CLASSES - 1)]
    box: tuple[Pixel, Pixel, Pixel, Pixel]  # left, top, right, bottom

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        if right <= left or bottom <= top:
            raise ValueError(f"got box {self.box}, expected left < right and top < bottom")

    def sign(self) -> Sign:
        left, top, right, bottom = self.box
        return Sign(self.label, (left, top, right - left, bottom - top))


def boxes_file(folder: Path) -> Path | None:
    """The one file of a folder whose name ends in boxes.json; None without one.

    Raises:
        VideoError: there are several.
    """
    found = sorted(folder.glob(f"*{_SUFFIX}"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise VideoError(f"{folder}: got {names}, expected one file *{_SUFFIX}; remove the others")
    return found[0] if found else None


def read_signs(path: Path, least_side: int = LEAST_SIDE) -> dict[str, tuple[Sign, ...]]:
    """Name of an image -> its signs of at least `least_side` pixels, the shorter side counting.

    Raises:
        VideoError: the file cannot be read, or is damaged.
    """
    document = read_json(path, _MAX_BYTES, _REMEDY, VideoError)
    stored = decode(document, dict[str, list[_Stored]], str(path), _REMEDY, VideoError)
    signs = {name: [each.sign() for each in all_of] for name, all_of in stored.items()}
    return {name: tuple(s for s in found if min(s.box[2:]) >= least_side) for name, found in signs.items()}


def widened(box: Box, margin: float = MARGIN) -> Box:
    """The box with `margin` of its sides on every side of it; it may stick out of the frame."""
    x, y, w, h = box
    dx, dy = round(margin * w), round(margin * h)
    return x - dx, y - dy, w + 2 * dx, h + 2 * dy
