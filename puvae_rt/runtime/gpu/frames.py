"""Camera frames as the preprocess kernel wants them: an address, a pitch, and regions in its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from puvae_rt.errors import InputError
from puvae_rt.kernels.launch import FORMATS
from puvae_rt.runtime.device.arrays import DeviceArray
from puvae_rt.runtime.images import Bytes, Roi

NV12 = "nv12"
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
    """(x, y, width, height) of each, in pixels of the frame."""

    boxes: Sequence[Roi]


def host_frame(pixels: Bytes, regions: Sequence[Roi], layout: str) -> tuple[Bytes, Regions]:
    """The part of a frame that the regions touch, and the regions in its pixels.

    Where a region sticks out of the frame the part ends where the frame does, so that its border is repeated.
    """
    _check_layout(pixels.shape, pixels.dtype, layout)
    if layout == NV12:
        return np.ascontiguousarray(pixels), Regions(regions)
    boxes = np.asarray(regions, np.int64)  # [R,4]
    height, width = pixels.shape[:2]
    left, top = (int(v) for v in np.clip(boxes[:, :2].min(axis=0), 0, (width - 1, height - 1)))
    right, bottom = (int(v) for v in np.clip((boxes[:, :2] + boxes[:, 2:]).max(axis=0), 1, (width, height)))
    moved = [(x - left, y - top, w, h) for x, y, w, h in regions]
    return np.ascontiguousarray(pixels[top:bottom, left:right]), Regions(moved)


def device_frame(array: DeviceArray, regions: Sequence[Roi], layout: str) -> Frame:
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
