"""A folder of images as a source: each one a frame, in the order of their names."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from puvae_rt.data.headers import read_header
from puvae_rt.errors import FileError, VideoError
from puvae_rt.files import read_bytes
from puvae_rt.video.capture import MAX_SIDE
from puvae_rt.video.events import EventKind
from puvae_rt.video.frames import Frame, Pixels, Truth
from puvae_rt.video.jpeg import JPEG, decode_jpeg
from puvae_rt.video.truth import read_truth
from puvae_rt.video.uri import EXPECTED
from puvae_rt.video.urls import redact_url

logger = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"}
_MAX_BYTES = 256 << 20  # of one image
_TRUTH = "truth.json"
_FPS = 30.0


class FolderSource:
    """The images of a folder; frame10 comes behind frame9. An image that cannot be decoded whole is left out, counted.

    Raises:
        VideoError: there is no image in it; while it is iterated: none of them could be read.
    """

    fps, dropped = _FPS, 0

    def __init__(self, path: Path) -> None:
        self.name = redact_url(str(path))
        self.counts = Counter[str]()
        try:
            names = sorted((each for each in path.iterdir() if each.suffix.lower() in SUFFIXES), key=_natural)
        except OSError as error:
            raise VideoError(f"{self.name}: cannot be read ({error.strerror}); check the folder") from error
        if not names:
            raise VideoError(f"{self.name}: got a folder without images ({', '.join(sorted(SUFFIXES))}); {EXPECTED}")
        self._paths, self._truth = names, read_truth(path / _TRUTH)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        index, size = 0, None
        for place, path in enumerate(self._paths):
            try:
                image = read_picture(path)
            except VideoError as error:
                logger.warning("%s", error)
                self.counts[EventKind.CORRUPT.value] += 1
                continue
            if size not in (None, image.shape):
                self.counts[EventKind.RESIZED.value] += 1
            size = image.shape
            yield Frame(image, index, self._truth_of(place), time.monotonic(), seconds=place / self.fps, name=path.name)
            index += 1
        if not index:
            raise VideoError(f"{self.name}: none of its {len(self._paths)} images can be read; they are damaged")

    def close(self) -> None:
        """Nothing is open."""

    def _truth_of(self, place: int) -> Truth | None:
        return self._truth[place] if self._truth is not None and place < len(self._truth) else None


def read_picture(path: Path) -> Pixels:
    """BGR [H,W,3] of an image file; VideoError for one that is damaged or larger than any camera's."""
    try:
        data = read_bytes(path, _MAX_BYTES)
        if data.startswith(JPEG):
            return decode_jpeg(data, str(path))
        header = read_header(data)
        if not 0 < max(header.width, header.height) <= MAX_SIDE:
            raise ValueError(f"{header.width}x{header.height} pixels")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (FileError, ValueError, cv2.error) as error:
        raise VideoError(f"{path}: cannot be read as an image ({error}); copy or convert it again") from error
    if image is None:
        raise VideoError(f"{path}: got a damaged image, expected one that OpenCV reads; copy or convert it again")
    return np.asarray(image, np.uint8)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Numbers in a name count as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
