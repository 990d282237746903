"""What OpenCV's readers tell, checked: they return zeros and False where other libraries raise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from puvae_rt._moved import renamed
from puvae_rt.errors import VideoError
from puvae_rt.video.frames import Pixels

MAX_SIDE = 8192  # pixels; a damaged header may announce anything
_DEFAULT_FPS, _MAX_FPS = 30.0, 240.0

# OpenCV gives a video up after 4,096 packets of sound without a picture between them, as of a still screen.
os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", "1000000")
# FFmpeg prints addresses with their passwords where a part of a stream fails; what matters is an error of ours.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# A camera that gives nothing is known in a second less than ours.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "4")

_TEXT_CODEC = "ansi"  # FFmpeg paints text files as a terminal would


class Capture(Protocol):
    """The part of cv2.VideoCapture that is used."""

    def isOpened(self) -> bool:  # noqa: N802
        """Whether there is something to read from."""

    def read(self) -> tuple[bool, Any]:
        """Whether there was a next frame, and the frame: uint8 [H,W,3] BGR."""

    def get(self, key: int) -> float:
        """A property, cv2.CAP_PROP_...; 0 or nonsense where it is not known."""

    def release(self) -> None:
        """Closes it; nothing can be read from then on."""


def opencv_path(path: Path) -> str:
    """`path` as OpenCV may be told it; VideoError for a name that is not UTF-8, over which OpenCV ends the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
        raise VideoError(f"{shown}: got a name that is not UTF-8, expected one that is; rename it") from error
    return str(path)


def announced_fps(capture: Capture) -> float:
    """Frames per second; 30 where the source does not know."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= _MAX_FPS else _DEFAULT_FPS


def codec_of(capture: Capture) -> str:
    """Four letters, as "avc1"; "unknown" without them."""
    letters = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(8, "little", signed=True)[:4]
    return letters.decode("ascii") if letters.isalnum() else "unknown"


def check_video(capture: Capture, name: str) -> None:
    """Before anything of it is decoded; VideoError for text, and for sizes that no camera has."""
    if codec_of(capture) == _TEXT_CODEC:
        raise VideoError(f"{name}: got a text, expected a video; check the name")
    width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width == height == 0:
        raise VideoError(f"{name}: got no size of its pictures, expected a video that FFmpeg decodes; convert it")
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise VideoError(f"{name}: got {width}x{height} pixels, expected sides from 1 to {MAX_SIDE}; scale the video")


def checked_frame(image: Any, name: str, index: int) -> Pixels:
    """A decoded frame as BGR [H,W,3]."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise VideoError(f"{name}: frame {index} is {got}, expected uint8 [H,W,3]; convert the video to 8 bits")
    if not image.size or max(image.shape) > MAX_SIDE:
        raise VideoError(f"{name}: frame {index} has shape {image.shape}, expected sides from 1 to {MAX_SIDE}")
    return image


__getattr__ = renamed(__name__, {"check_size": "check_video"})
