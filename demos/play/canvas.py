"""Drawing by OpenCV with anchors, so that a layout reads as one."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np

from puvae_rt._moved import renamed
from puvae_rt.video.frames import Pixels

Place: TypeAlias = tuple[int, int, int, int]  # x, y, width, height
Point: TypeAlias = tuple[int, int]
Color: TypeAlias = tuple[int, int, int]  # BGR

_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Canvas:
    """A BGR picture in the making; `pixels` [H,W,3]."""

    def __init__(self, size: tuple[int, int], color: Color) -> None:
        self.pixels: Pixels = np.empty((size[1], size[0], 3), np.uint8)
        self.fill((0, 0, *size), color)

    @classmethod
    def over(cls, pixels: Pixels) -> Canvas:
        """One that draws on a picture that is there."""
        canvas = cls.__new__(cls)
        canvas.pixels = pixels
        return canvas

    def text(self, text: str, at: Point, scale: float, color: Color, align: str = "left", bold: bool = False) -> None:
        """One line with its base line at `at`; `align` says which end of it: left, center, right."""
        thickness = 2 if bold else 1
        (width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
        left = at[0] - {"left": 0, "center": width // 2, "right": width}[align]
        cv2.putText(self.pixels, text, (left, at[1]), _FONT, scale, color, thickness, cv2.LINE_AA)

    def tag(self, text: str, at: Point, color: Color, ground: Color) -> None:
        """Text on a filled label that starts at `at`."""
        (width, height), _ = cv2.getTextSize(text, _FONT, 0.6, 2)
        cv2.rectangle(self.pixels, (at[0], at[1] - height - 8), (at[0] + width + 14, at[1] + 6), ground, cv2.FILLED)
        self.text(text, (at[0] + 7, at[1] - 1), 0.6, color, bold=True)

    def fill(self, place: Place, color: Color) -> None:
        """Paints the whole of `place`."""
        x, y, width, height = place
        cv2.rectangle(self.pixels, (x, y), (x + width - 1, y + height - 1), color, cv2.FILLED)

    def box(self, place: Place, color: Color) -> None:
        """Draws the outline of `place`."""
        x, y, width, height = place
        cv2.rectangle(self.pixels, (x, y), (x + width, y + height), color, 2, cv2.LINE_AA)

    def image(self, image: Pixels, at: Point) -> None:
        """`image` BGR [h,w,3], wholly inside, with its upper left corner at `at`."""
        height, width = image.shape[:2]
        self.pixels[at[1] : at[1] + height, at[0] : at[0] + width] = image

    def picture(self, image: Pixels, place: Place, ground: Color) -> tuple[Point, float]:
        """`image` as large as fits into `place`, centered on `ground` -> its corner and scale."""
        x, y, width, height = place
        scale = min(width / image.shape[1], height / image.shape[0])
        size = max(1, round(scale * image.shape[1])), max(1, round(scale * image.shape[0]))
        corner = x + (width - size[0]) // 2, y + (height - size[1]) // 2
        self.fill(place, ground)
        shrinks = scale < 1
        self.image(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), corner)
        return corner, scale


__getattr__ = renamed(__name__, {"Colour": "Color"})
