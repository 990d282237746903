"""Camera frames as the preprocess kernel wants them: an address, a pitch, and regions in its pixels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from puvae_rt.device.arrays import DeviceArray
from puvae_rt.errors import InputError
from puvae_rt.kernels.launch import FORMATS
from puvae_rt.runtime.preprocess import Bytes, Roi

NV12 = "nv12"
MAX_COORDINATE = 1 << 30  # moved by a frame's side it is still an int32
Regions: TypeAlias = Sequence[Roi]  # checked: integers, small enough for the kernel
_U8 = np.dtype(np.uint8)
_SAMPLES = {"bgr8": (3,), "rgb8": (3,), "gray8": (), NV12: ()}  # of a pixel, as the array's last axis


class Frame(NamedTuple):
    """Pixels on the device."""

    address: int
    rows: int  # of the array: NV12 has half as many again as the picture
    width: int
    pitch: int  # bytes from one row to the next
    layout: str

    @property
    def height(self) -> int:
        """The picture's, in pixels."""
        return self.rows * 2 // 3 if self.layout == NV12 else self.rows

    @property
    def chroma(self) -> int:
        """Address of NV12's second plane, 0 for the other layouts."""
        return self.address + self.height * self.pitch if self.layout == NV12 else 0


def checked_regions(regions: Sequence[Roi]) -> Regions:
    """[(x, y, width, height)] in pixels of a frame, each a Python integer that fits the kernel's int32.

    InputError unless each is four integers of a size that a frame can have.
    """
    boxes = []
    try:
        for region in regions:
            x, y, width, height = map(operator.index, region)
            boxes.append((x, y, width, height))
    except (TypeError, ValueError):
        raise InputError(
            f"regions: got {regions!r}, expected (x, y, width, height) of each, integers; round them"
        ) from None
    for box in boxes:
        if max(box) > MAX_COORDINATE or min(box) < -MAX_COORDINATE:
            raise InputError(
                f"regions: got {regions!r}, expected x, y, width, height up to {MAX_COORDINATE}; cut them to the frame"
            )
    return boxes


def host_frame(pixels: Bytes, regions: Regions, layout: str) -> tuple[Bytes, Regions]:
    """The part of a checked frame that the regions touch, a view, and the regions in its pixels.

    Where a region sticks out of the frame the part ends where the frame does, so that its border is repeated. NV12
    is taken whole: its planes lie one behind the other.
    """
    if layout == NV12:
        return pixels, regions
    height, width = pixels.shape[:2]
    left, top, right, bottom = _hull(regions)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right, bottom = min(max(right, 1), width), min(max(bottom, 1), height)
    return pixels[top:bottom, left:right], [(x - left, y - top, w, h) for x, y, w, h in regions]


def _hull(regions: Regions) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what holds every region."""
    x, y, width, height = regions[0]
    left, top, right, bottom = x, y, x + width, y + height
    for x, y, width, height in regions[1:]:
        left, top = min(left, x), min(top, y)
        right, bottom = max(right, x + width), max(bottom, y + height)
    return left, top, right, bottom


def check_host_frame(pixels: Any, layout: str) -> None:
    """InputError unless a frame on the host is an array as its layout has it."""
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"frame: got {type(pixels).__name__}, expected a uint8 array on the host; see enqueue_frame()")
    _check_layout(pixels.shape, pixels.dtype, layout)


def device_frame(array: DeviceArray, layout: str) -> Frame:
    """A frame in device memory, in place."""
    _check_layout(array.shape, array.dtype, layout)
    return Frame(array.address, array.shape[0], array.shape[1], array.pitch, layout)


def _check_layout(shape: tuple[int, ...], dtype: object, layout: str) -> None:
    if layout not in FORMATS:
        raise InputError(f"frame of layout {layout!r}: expected one of {', '.join(FORMATS)}; convert it first")
    samples = _SAMPLES[layout]
    if dtype != _U8 or len(shape) != 2 + len(samples) or shape[2:] != samples or 0 in shape:
        raise InputError(f"frame: got {dtype} {shape}, expected uint8 [H,W{',3' if samples else ''}] for {layout}")
    if layout == NV12 and (shape[0] % 3 or shape[1] % 2):
        raise InputError(f"frame: got NV12 of {shape}, expected [H*3/2,W] with even sides")
