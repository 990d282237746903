"""The ground truth of a clip: clip.json beside clip.mp4."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from puvae_rt.contract import MAX_CLASSES
from puvae_rt.errors import VideoError
from puvae_rt.video.capture import MAX_SIDE
from puvae_rt.video.frames import Truth

logger = logging.getLogger(__name__)

KEY = "ground_truth"
_MAX_BYTES = 64 << 20


def truth_path(video: Path) -> Path:
    return video.with_suffix(".json")


def write_truth(path: Path, frames: Sequence[Truth]) -> None:
    """One line per frame: {"label": 3, "box": [x, y, width, height]}, both null where nothing is."""
    lines = ",\n".join(json.dumps({"label": frame.label, "box": frame.box}) for frame in frames)
    path.write_text(f'{{"{KEY}": [\n{lines}\n]}}\n', "utf-8")


def read_truth(path: Path) -> list[Truth] | None:
    """What is really on each frame; None when there is no such file, or it is the JSON of something else.

    Raises:
        VideoError: it cannot be read, or is damaged.
    """
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise VideoError(f"{path}: larger than {_MAX_BYTES} bytes, expected the ground truth of a clip; remove it")
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise VideoError(f"{path}: not readable as ground truth ({error}); make the clip again or remove it") from error
    if not isinstance(document, dict) or KEY not in document:
        logger.warning("%s: holds no %r: accuracy is not measured", path, KEY)
        return None
    frames = document[KEY]
    if not isinstance(frames, list):
        raise VideoError(f"{path}: {KEY}: got {type(frames).__name__}, expected a list; make the clip again")
    return [_truth(frame, f"{path}: frame {index}") for index, frame in enumerate(frames)]


def _truth(frame: Any, where: str) -> Truth:
    label, box = (frame.get("label"), frame.get("box")) if isinstance(frame, dict) else (frame, None)
    if label is None and box is None and isinstance(frame, dict):
        return Truth(None, None)
    if not _is_integer(label, 0, MAX_CLASSES - 1):
        raise VideoError(f"{where}: label {str(label)[:40]!r}, expected a class's number; make the clip again")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_integer(v, 0, MAX_SIDE) for v in box):
        raise VideoError(f"{where}: box {str(box)[:40]}, expected [x, y, width, height]; make the clip again")
    return Truth(label, (box[0], box[1], box[2], box[3]))


def _is_integer(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high
