"""Camera frames as the preprocess kernel wants them: an address, a pitch, and regions in its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from puvae_rt.device.arrays import DeviceArray
from puvae_rt.errors import InputError
from puvae_rt.kernels.launch import FORMATS
from puvae_rt.runtime.preprocess import Bytes, Roi

NV12 = "nv12"
MAX_COORDINATE = 1 << 30  # moved by a frame's side it is still an int32
_SAMPLES = {"bgr8": (3,), "rgb8": (3,), "gray8": (), NV12: ()}  # of a pixel, as the array's last axis


@dataclass(frozen=True)
class Frame:
    """Pixels on the device."""

    address: int
    rows: int  # of the array: NV12 has half as many again as the picture
    width: int
    pitch: int  # bytes from one row to the next
    layout: str

    @property
    def height(self) -> int:
        return self.rows * 2 // 3 if self.layout == NV12 else self.rows

    @property
    def chroma(self) -> int:
        """Address of NV12's second plane, 0 for the other layouts."""
        return self.address + self.height * self.pitch if self.layout == NV12 else 0


@dataclass(frozen=True)
class Regions:
    """[R,4]: x, y, width, height of each, in pixels of the frame; int64, and small enough for the kernel's int32."""

    boxes: npt.NDArray[np.int64]


def checked_regions(regions: Sequence[Roi]) -> Regions:
    """InputError unless each is four integers of a size that a frame can have."""
    try:
        boxes = np.asarray(regions)
    except ValueError:  # ragged
        boxes = np.empty(0)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iu":
        raise InputError(f"regions: got {regions!r}, expected (x, y, width, height) of each, integers; round them")
    if np.abs(boxes.astype(np.float64)).max() > MAX_COORDINATE:
        raise InputError(f"regions: got {regions!r}, expected numbers up to {MAX_COORDINATE}; cut them to the frame")
    return Regions(boxes.astype(np.int64))


def host_frame(pixels: Bytes, regions: Regions, layout: str) -> tuple[Bytes, Regions]:
    """The part of a frame that the regions touch, and the regions in its pixels.

    Where a region sticks out of the frame the part ends where the frame does, so that its border is repeated.
    """
    _check_layout(pixels.shape, pixels.dtype, layout)
    if layout == NV12:
        return np.ascontiguousarray(pixels), regions
    boxes = regions.boxes
    height, width = pixels.shape[:2]
    left, top = (int(v) for v in np.clip(boxes[:, :2].min(axis=0), 0, (width - 1, height - 1)))
    right, bottom = (int(v) for v in np.clip((boxes[:, :2] + boxes[:, 2:]).max(axis=0), 1, (width, height)))
    moved = Regions(boxes - (left, top, 0, 0))
    return np.ascontiguousarray(pixels[top:bottom, left:right]), moved


def device_frame(array: DeviceArray, layout: str) -> Frame:
    """A frame in device memory, in place."""
    _check_layout(array.shape, array.dtype, layout)
    return Frame(array.address, array.shape[0], array.shape[1], array.pitch, layout)


def _check_layout(shape: tuple[int, ...], dtype: object, layout: str) -> None:
    if layout not in FORMATS:
        raise InputError(f"frame of layout {layout!r}: expected one of {', '.join(FORMATS)}; convert it first")
    samples = _SAMPLES[layout]
    if dtype != np.uint8 or len(shape) != 2 + len(samples) or shape[2:] != samples or 0 in shape:
        raise InputError(f"frame: got {dtype} {shape}, expected uint8 [H,W{',3' if samples else ''}] for {layout}")
    if layout == NV12 and (shape[0] % 3 or shape[1] % 2):
        raise InputError(f"frame: got NV12 of {shape}, expected [H*3/2,W] with even sides")
