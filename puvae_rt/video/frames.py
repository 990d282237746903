"""What every video source yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]  # BGR [H,W,3]
Box: TypeAlias = tuple[int, int, int, int]  # x, y, width, height in pixels of the frame


@dataclass(frozen=True)
class Truth:
    """What is really on a frame; both None where nothing is."""

    label: int | None
    box: Box | None


@dataclass(frozen=True)
class Frame:
    """One frame; `index` counts what the source delivered, dropped frames included."""

    image: Pixels
    index: int
    truth: Truth | None = None
