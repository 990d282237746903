"""Finds a handwritten digit on a camera frame and brings it into MNIST's form.

Strokes are what is narrower than a window and darker (or lighter) than what surrounds it: the black-hat (top-hat)
transform. It ignores slow changes of light and the edges of large things such as the sheet of paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt._moved import renamed
from puvae_rt.errors import InputError
from puvae_rt.video.frames import Box, Pixels

# MNIST's form: the digit's longer side is 20 pixels, its center of mass is at (14, 14) of 28x28.
SIDE, DIGIT_SIDE, CENTER = 28, 20, 14
_THIN, _PEN = 1.7, 2.4  # stroke widths at that size: thinner ones are widened to MNIST's pen

# The search. Lengths in pixels are those of the frame reduced to `_WORK_SIDE`.
_WORK_SIDE = 320  # longer side
_WINDOW = 0.14  # of the frame's height: the widest stroke that is found
_MIN_CONTRAST = 28.0  # gray levels between ink and paper
_HEIGHTS = (0.07, 0.92)  # of the frame's height
_ASPECTS = (0.08, 1.8)  # width / height
_STROKES = (0.02, 0.45)  # stroke width / longer side
_RING = 5  # pixels round the strokes in which the paper is judged
_UNEVEN = 0.35  # most that this paper may vary, as a share of the ink's contrast
_GAP = 0.17  # of the longer side: strokes of one digit may lie this far apart

Floats = NDArray[np.float32]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Digit:
    """A digit in MNIST's form, float32 [1,28,28] in [0,1], light on black, and its box on the frame."""

    image: Floats
    box: Box


def find_digit(frame: Pixels) -> Digit | None:
    """The most prominent digit of a frame, dark on light or light on dark; None without one.

    Args:
        frame: BGR uint8 [H,W,3] or gray uint8 [H,W], of any size and proportions.

    Raises:
        InputError: `frame` is of another type or shape. No frame of those two raises anything.
    """
    gray = _gray(frame)
    height, width = gray.shape
    reduction = min(1.0, _WORK_SIDE / max(height, width))
    size = max(1, round(reduction * width)), max(1, round(reduction * height))
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    searches = [_Search.of(small, hat) for hat in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)]
    found = [(strokes, search) for search in searches for strokes in search.digits()]
    if not found:
        return None
    strokes, search = max(found, key=lambda pair: pair[0].level * pair[0].side)
    whole = search.with_detached_strokes(strokes)
    across, down = width / size[0], height / size[1]
    x, y, w, h = whole.box
    left, top = round(across * x), round(down * y)
    box = left, top, min(width - left, round(across * w)), min(height - top, round(down * h))
    return Digit(normalize(search.ink(whole)), box)


def _gray(frame: Pixels) -> Pixels:
    """[H,W], checked."""
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.size:
        if frame.ndim == 2:
            return frame
        if frame.ndim == 3 and frame.shape[2] == 3:
            return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)
    got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
    raise InputError(f"frame: got {got}, expected uint8 [H,W,3] BGR or [H,W] gray; convert it, as cv2.cvtColor does")


def normalize(ink: Floats) -> Floats:
    """Strokes [H,W] in [0,1], light on black -> MNIST's form [1,28,28]; black where there is no ink.

    Images of MNIST come back as they were, but for edges fainter than a tenth and for the thinnest pens, which grow.
    """
    image = np.zeros((1, SIDE, SIDE), np.float32)
    x, y, w, h = cv2.boundingRect((ink > 0.1).astype(np.uint8))
    if not w:
        return image
    digit = _with_pen(ink[y : y + h, x : x + w])
    scale = DIGIT_SIDE / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    boxed = cv2.resize(digit, (width, height), interpolation=cv2.INTER_AREA)
    left, top = _offset(boxed.sum(axis=0)), _offset(boxed.sum(axis=1))
    image[0, top : top + height, left : left + width] = np.clip(boxed, 0, 1)  # averaging may round above 1
    return image


def _offset(profile: Floats) -> int:
    """Where the box starts so that its center of mass is in the middle, and the box inside the image.

    `profile` is the ink of each column or row. By hand: cv2.moments takes a float image of two columns for points.
    """
    length = len(profile)
    center_of_mass = float(np.average(np.arange(length), weights=profile))
    return int(np.clip(round(CENTER - center_of_mass), 0, SIDE - length))


def _with_pen(ink: Floats) -> Floats:
    """Ballpoint strokes widened to the felt pen of MNIST; others as they are."""
    scale = DIGIT_SIDE / max(ink.shape)
    width = _stroke_width((ink > 0.5).astype(np.uint8))
    if width * scale >= _THIN:
        return ink
    widen = max(1, round(_PEN / scale - width))
    padded = cv2.copyMakeBorder(ink, widen, widen, widen, widen, cv2.BORDER_CONSTANT)
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (widen + 1, widen + 1))
    return np.asarray(cv2.dilate(padded, pen))


def _stroke_width(mask: Mask) -> float:
    """Area / half the outline's length: the width of a long stroke."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outline = sum(cv2.arcLength(contour, closed=True) for contour in contours)
    return 2.0 * float(mask.sum()) / max(outline, 1.0)


@dataclass(frozen=True)
class _Strokes:
    """A connected group of strokes."""

    mask: Mask  # inside the box
    box: Box
    level: float  # mean contrast of its ink, gray levels

    @property
    def side(self) -> int:
        return max(self.box[2:])


@dataclass(frozen=True)
class _Search:
    """The strokes of one polarity on a gray frame."""

    gray: Pixels
    contrast: Pixels  # of each pixel with its surroundings, gray levels
    groups: NDArray[np.int32]  # number of the group that a stroke's pixel belongs to, 0 elsewhere
    boxes: list[Box]  # of each group

    @staticmethod
    def of(gray: Pixels, hat: int) -> _Search:
        window = int(_WINDOW * gray.shape[0]) | 1
        smooth = cv2.GaussianBlur(gray, (3, 3), 0)
        contrast = cv2.morphologyEx(smooth, hat, np.ones((window, window), np.uint8))
        otsu, _ = cv2.threshold(contrast, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        strong = (contrast > max(otsu, _MIN_CONTRAST)).astype(np.uint8)
        _, groups, stats, _ = cv2.connectedComponentsWithStats(strong, connectivity=8)
        boxes: list[Box] = [(int(s[0]), int(s[1]), int(s[2]), int(s[3])) for s in stats]
        return _Search(smooth, contrast, groups, boxes)

    def digits(self) -> list[_Strokes]:
        """The groups that may be a digit, or the largest part of one."""
        sized = [number for number in range(1, len(self.boxes)) if self._fits(self.boxes[number])]
        return [strokes for strokes in map(self._strokes, sized) if self._is_written(strokes)]

    def with_detached_strokes(self, main: _Strokes) -> _Strokes:
        """`main` and what belongs to it, such as the bar of a 5; `main` alone where that makes no digit."""
        gap = max(1, round(_GAP * main.side))
        x, y, w, h = main.box
        left, top = max(0, x - gap), max(0, y - gap)
        near = self.groups[top : y + h + gap, left : x + w + gap]
        reach = np.zeros(near.shape, np.uint8)
        reach[y - top : y - top + h, x - left : x - left + w] = main.mask
        reach = cv2.dilate(reach, np.ones((2 * gap + 1, 2 * gap + 1), np.uint8))
        parts = [self._strokes(int(number)) for number in np.unique(near[(reach > 0) & (near > 0)])]
        parts = [part for part in parts if part.level > 0.6 * main.level and self._on_paper(part)]
        whole = self._union([main, *parts])
        return whole if self._fits(whole.box) else main

    def ink(self, strokes: _Strokes) -> Floats:
        """The strokes in [0,1]: full ink at 1, paper and neighbours at 0, soft edges between."""
        x, y, w, h = strokes.box
        contrast = self.contrast[y : y + h, x : x + w].astype(np.float32)
        near = cv2.dilate(strokes.mask, np.ones((3, 3), np.uint8))
        level = contrast * near / np.percentile(contrast[strokes.mask > 0], 75)
        return np.asarray(np.clip((level - 0.15) / 0.7, 0, 1), np.float32)

    def _strokes(self, number: int) -> _Strokes:
        x, y, w, h = box = self.boxes[number]
        mask = self.groups[y : y + h, x : x + w] == number
        return _Strokes(mask.astype(np.uint8), box, float(self.contrast[y : y + h, x : x + w][mask].mean()))

    def _fits(self, box: Box) -> bool:
        """A digit's size and proportions, wholly inside the frame."""
        (x, y, w, h), (height, width) = box, self.gray.shape
        inside = x > 0 and y > 0 and x + w < width and y + h < height
        low, high = (share * height for share in _HEIGHTS)
        return inside and low <= h <= high and _ASPECTS[0] <= w / h <= _ASPECTS[1]

    def _is_written(self, strokes: _Strokes) -> bool:
        width = _stroke_width(strokes.mask) / strokes.side
        return _STROKES[0] <= width <= _STROKES[1] and self._on_paper(strokes)

    def _on_paper(self, strokes: _Strokes) -> bool:
        """Gray levels right round the strokes, holes included, are alike.

        A digit lies on one paper; a card with something on it has the desk outside and ink inside.
        """
        x, y, w, h = strokes.box
        left, top = min(_RING, x), min(_RING, y)
        region = self.gray[y - top : y + h + _RING, x - left : x + w + _RING]
        mask = np.zeros(region.shape, np.uint8)
        mask[top : top + h, left : left + w] = strokes.mask
        soft_edge = cv2.dilate(mask, np.ones((5, 5), np.uint8))
        ring = cv2.dilate(mask, np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8)) - soft_edge
        paper = region[ring > 0]
        if not paper.size:  # the strokes fill the frame
            return False
        low, high = np.percentile(paper, (10, 90))
        return bool(high - low < _UNEVEN * strokes.level)

    def _union(self, parts: list[_Strokes]) -> _Strokes:
        left, top = (min(part.box[axis] for part in parts) for axis in (0, 1))
        right, bottom = (max(part.box[axis] + part.box[axis + 2] for part in parts) for axis in (0, 1))
        mask = np.zeros((bottom - top, right - left), np.uint8)
        for part in parts:
            x, y, w, h = part.box
            mask[y - top : y - top + h, x - left : x - left + w] |= part.mask
        return _Strokes(mask, (left, top, right - left, bottom - top), parts[0].level)


__getattr__ = renamed(__name__, {"CENTRE": "CENTER"})
