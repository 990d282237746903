"""What every video source yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]  # BGR [H,W,3]
Box: TypeAlias = tuple[int, int, int, int]  # x, y, width, height in pixels of the frame

# Where the stamp of a frame comes from.
READ_CLOCK = "read"  # the return of the read: what the camera and the driver took before is not in the age
V4L2_CLOCK, GSTREAMER_CLOCK = "v4l2", "gstreamer"  # the driver's, the pipeline's
SCHEDULE_CLOCK = "schedule"  # when a frame of a file, recording or synthetic clip was due


@dataclass(frozen=True)
class Truth:
    """What is really on a frame; both None where nothing is."""

    label: int | None
    box: Box | None


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        image: BGR uint8 [H,W,3].
        index: counts what the source delivered, dropped frames included.
        truth: what is on it, where that is known.
        captured: seconds of time.monotonic(), which no change of the system's clock moves; None where nobody looked.
        clock: where `captured` comes from.
        seconds: its place in a file, from the beginning.
        name: of its file, in a folder of images; else empty.
    """

    image: Pixels
    index: int
    truth: Truth | None = None
    captured: float | None = None
    clock: str = READ_CLOCK
    seconds: float | None = None
    name: str = ""
