"""Where signs may be on a frame nobody annotated: spots of a sign's color, of a sign's size and shape.

Colors are shares of a pixel's brightness (normalized red and blue: Greenhalgh and Mirmehdi 2012), cut at several
levels, so that a sign in the shade and one in the sun both come apart from what is behind them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.driving.annotations import LEAST_SIDE
from puvae_rt.video.frames import Box, Pixels

MOST = 24  # proposals of one frame, the best first
LARGEST = 260  # pixels of a side
_LEVELS = (12, 24, 48, 80)  # of 255 parts of the color's lead over the others, divided by the brightness
_ASPECT = (0.6, 1.5)  # width to height; signs turn away from the camera
_LEAST_FILL = 0.25  # of the box that a spot with its holes filled covers; a triangle covers half
_SAME = 0.6  # intersection over union of two boxes of one sign


def propose(image: Pixels, most: int = MOST) -> list[Box]:
    """Boxes (x, y, width, height) of what may be signs on a BGR frame [H,W,3], at most `most`, the best first."""
    found: list[tuple[float, Box]] = []
    for color in _leads(image):
        for level in _LEVELS:
            found += _spots(color > level)
    return _distinct(found, most)


def _leads(image: Pixels) -> list[NDArray[np.uint8]]:
    """How far red, blue, and yellow lead over the other colors, in parts of the brightness, 0 to 255."""
    blue, green, red = (plane.astype(np.int16) for plane in cv2.split(image))
    total = (blue + green + red + 30).astype(np.float32)  # 30: noise in the dark has no color
    yellow = np.minimum(red, green) - blue - np.abs(red - green)
    leads = (red - np.maximum(blue, green), blue - np.maximum(red, green), yellow)
    return [np.clip(255 * lead / total, 0, 255).astype(np.uint8) for lead in leads]


def _spots(mask: NDArray[np.bool_]) -> list[tuple[float, Box]]:
    """Boxes of connected spots with the form of a sign, and how well it fills them."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for outline in outlines:
        x, y, w, h = cv2.boundingRect(outline)
        if w < LEAST_SIDE // 2 or h < LEAST_SIDE // 2 or max(w, h) > 3 * LARGEST:
            continue
        solid = cv2.contourArea(outline) / (w * h)
        if solid < _LEAST_FILL:
            continue
        for box in _parts((x, y, w, h)):
            if min(box[2:]) >= LEAST_SIDE and max(box[2:]) <= LARGEST and _ASPECT[0] <= box[2] / box[3] <= _ASPECT[1]:
                found.append((solid, box))
    return found


def _parts(box: Box) -> list[Box]:
    """The box itself, or, of one that is taller than a sign, the two or three signs that one pole may carry."""
    x, y, w, h = box
    count = min(3, round(h / w))
    return [(x, y + i * h // count, w, h // count) for i in range(count)] if count > 1 else [box]


def _distinct(found: list[tuple[float, Box]], most: int) -> list[Box]:
    kept: list[Box] = []
    for _, box in sorted(found, reverse=True):
        if all(overlap(box, other) < _SAME for other in kept):
            kept.append(box)
        if len(kept) == most:
            break
    return kept


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, from 0 to 1."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[0] + one[2], other[0] + other[2]), min(one[1] + one[3], other[1] + other[3])
    shared = max(0, right - left) * max(0, bottom - top)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)
