"""The ground truth of a clip: clip.json beside clip.mp4."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from puvae_rt.contract import MAX_CLASSES
from puvae_rt.errors import VideoError
from puvae_rt.files import write_text
from puvae_rt.schema import decode, integer, read_json
from puvae_rt.video.capture import MAX_SIDE
from puvae_rt.video.frames import Truth

logger = logging.getLogger(__name__)

KEY = "ground_truth"
_MAX_BYTES = 64 << 20
_REMEDY = "make the clip again, or remove this file"
Label = Annotated[int, integer(0, MAX_CLASSES - 1)]
Pixel = Annotated[int, integer(0, MAX_SIDE)]


class _Frame(msgspec.Struct):
    """What is on one frame: both, or nothing."""

    label: Label | None = None
    box: tuple[Pixel, Pixel, Pixel, Pixel] | None = None  # x, y, width, height

    def __post_init__(self) -> None:
        if (self.label is None) != (self.box is None):
            raise ValueError(f"got label {self.label} and box {self.box}, expected both, or null for both")

    def truth(self) -> Truth:
        return Truth(self.label, self.box)


class _Stored(msgspec.Struct):
    ground_truth: list[_Frame]


def truth_path(video: Path) -> Path:
    """Where the ground truth of a clip lies: clip.json beside clip.mp4."""
    return video.with_suffix(".json")


def write_truth(path: Path, frames: Sequence[Truth]) -> None:
    """One line per frame: {"label": 3, "box": [x, y, width, height]}, both null where nothing is."""
    lines = ",\n".join(json.dumps({"label": frame.label, "box": frame.box}) for frame in frames)
    write_text(path, f'{{"{KEY}": [\n{lines}\n]}}\n')


def read_truth(path: Path) -> list[Truth] | None:
    """What is really on each frame; None when there is no such file, or it is the JSON of something else.

    Raises:
        VideoError: it cannot be read, or is damaged.
    """
    if not path.is_file():
        return None
    document = read_json(path, _MAX_BYTES, _REMEDY, VideoError)
    if not isinstance(document, dict) or KEY not in document:
        logger.warning("%s: holds no %r: accuracy is not measured", path, KEY)
        return None
    return [frame.truth() for frame in decode(document, _Stored, str(path), _REMEDY, VideoError).ground_truth]
