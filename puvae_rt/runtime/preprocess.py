"""What users hand over, checked and converted once: batches of images and camera frames."""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from puvae_rt.contract import ImageContract
from puvae_rt.errors import InputError, number_text
from puvae_rt.refusal import brief
from puvae_rt.runtime.results import Floats

Bytes = npt.NDArray[np.uint8]
Roi: TypeAlias = tuple[int, int, int, int]  # x, y, width, height in pixels of the frame

MAX_REGION = 1 << 26  # pixels of a region, which is copied where it sticks out of the frame


def as_batch(images: Any, contract: ImageContract) -> Floats:
    """A user's images as contiguous float32 [N,C,H,W] in [0,1].

    Args:
        images: float32 in [0,1] or uint8 in 0..255; [N,C,H,W], [N,H,W,C], or [N,H,W] for one channel. RGB.
        contract: the model's image shape.
    Raises:
        InputError: another shape, dtype or range, NaN, or an empty batch.
    """
    array = _array(images)
    batch = _channels_first(array, contract)
    if batch.dtype == np.uint8:
        return _unit(batch)
    low, high = float(batch.min()), float(batch.max())  # NaN if any value is
    if not (low >= 0.0 and high <= 1.0):
        raise InputError(_range_message(low, high))
    return np.ascontiguousarray(batch)


def as_input(frame: Any, roi: Roi | None, contract: ImageContract) -> Floats:
    """The region of a camera frame as one float32 image [1,C,H,W] in [0,1].

    The region is cut (what sticks out of the frame repeats the frame's border), resized by area when neither side
    grows, bilinearly otherwise, then converted: gray for one channel, RGB for three. Nothing else is done:
    inversion or contrast is the caller's choice.

    Args:
        frame: uint8 BGR [H,W,3] or gray [H,W].
        roi: (x, y, width, height), integers; None takes the whole frame.
        contract: the model's image shape.
    """
    pixels = _frame(frame)
    region = _cut(pixels, _checked(roi, pixels.shape[1], pixels.shape[0])) if roi is not None else pixels
    shrinks = region.shape[0] >= contract.height and region.shape[1] >= contract.width
    resized = cv2.resize(
        region, (contract.width, contract.height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    color = _CONVERSIONS.get((resized.ndim, contract.channels))
    planes = resized if color is None else cv2.cvtColor(resized, color)
    chw = planes[None] if planes.ndim == 2 else planes.transpose(2, 0, 1)  # [C,H,W]
    return _unit(chw[None])


def as_noise(noise: Any, shape: tuple[int, ...]) -> Floats:
    """A user's noise, contiguous; InputError unless it is finite float32 of `shape`."""
    try:
        array = np.ascontiguousarray(noise)
    except Exception as error:  # whatever the object's own conversion raises
        raise InputError(
            f"noise: got {type(noise).__name__} that is no array ({error}), expected float32 {shape}"
        ) from error
    if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
        raise InputError(
            f"noise: got {array.dtype} {array.shape}, expected finite float32 {shape}; "
            "draw it with Generator.standard_normal(shape, dtype=np.float32), or leave it out"
        )
    return array


def checked_frame(frame: Any, roi: Roi | None) -> tuple[Bytes, Roi]:
    """What `as_input` accepts, uncut: the frame, and its region; the whole of it without one."""
    pixels = _frame(frame)
    height, width = pixels.shape[:2]
    return pixels, (0, 0, width, height) if roi is None else _checked(roi, width, height)


# (dimensions of the frame, channels of the model) -> conversion; gray to gray needs none.
_CONVERSIONS = {(3, 1): cv2.COLOR_BGR2GRAY, (3, 3): cv2.COLOR_BGR2RGB, (2, 3): cv2.COLOR_GRAY2RGB}


def _unit(pixels: npt.NDArray[Any]) -> Floats:
    """uint8 0..255 -> contiguous float32 in [0,1]."""
    scaled: Floats = np.divide(pixels, 255, dtype=np.float32, order="C")
    return scaled


def _array(images: Any) -> npt.NDArray[Any]:
    try:
        array = np.asarray(images)
    except Exception as error:  # whatever the object's own conversion raises
        raise InputError(
            f"images: got {type(images).__name__} that is no array ({error}); give a float32 or uint8 array"
        ) from error
    if array.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"images: got dtype {array.dtype}, expected float32 in [0,1] or uint8 in 0..255; "
            "convert with .astype(np.float32)"
        )
    return array


def _channels_first(array: npt.NDArray[Any], contract: ImageContract) -> npt.NDArray[Any]:
    """[N,C,H,W], [N,H,W,C] or [N,H,W] -> a [N,C,H,W] view."""
    c, h, w = contract.shape
    if array.ndim and not len(array):
        raise InputError(f"images: got an empty batch {array.shape}, expected at least one image")
    if array.shape[1:] == (c, h, w):
        return array
    if array.shape[1:] == (h, w, c):
        return array.transpose(0, 3, 1, 2)
    if c == 1 and array.shape[1:] == (h, w):
        return array[:, None]
    accepted = f"[N,{c},{h},{w}] or [N,{h},{w},{c}]" + (f" or [N,{h},{w}]" if c == 1 else "")
    remedy = (
        "add the batch axis: images[None]"
        if array.shape in ((c, h, w), (h, w, c), (h, w))
        else ("resize to the model's size, or pass one uint8 frame to purifier(frame)")
    )
    raise InputError(f"images: got shape {array.shape}, expected {accepted}; {remedy}")


def _range_message(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return "images: got NaN, expected values in [0,1]; drop or mend the damaged images"
    low, high = (float(str(np.float32(value))) for value in (low, high))  # in the digits that a float32 has
    got = f"values from {number_text(low)} to {number_text(high)}"
    return f"images: got {got}, expected [0,1]; divide by 255, clip, or pass uint8"


def _frame(frame: Any) -> Bytes:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        got = f"dtype {frame.dtype}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise InputError(f"frame: got {got}, expected a uint8 array, BGR [H,W,3] or gray [H,W]")
    if frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)):
        raise InputError(
            f"frame: got shape {frame.shape}, expected BGR [H,W,3] or gray [H,W]; drop alpha, squeeze a single channel"
        )
    if not frame.size:
        raise InputError(f"frame: got shape {frame.shape}, expected at least one pixel; skip empty frames")
    return frame


def _cut(frame: Bytes, roi: Roi) -> Bytes:
    """The region of the frame, a view where it lies inside."""
    x, y, w, h = roi
    inside = frame[max(y, 0) : y + h, max(x, 0) : x + w]
    top, left = max(-y, 0), max(-x, 0)
    bottom, right = h - top - inside.shape[0], w - left - inside.shape[1]
    if not (top or left or bottom or right):
        return inside
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)  # type: ignore[no-any-return]


def _checked(roi: Any, width: int, height: int) -> Roi:
    try:
        x, y, w, h = roi
        whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in (x, y, w, h))
    except Exception:  # nothing that gives four values
        whole = False
    if not whole:
        raise InputError(f"roi: got {brief(roi)}, expected four integers (x, y, width, height); round them")
    x, y, w, h = int(x), int(y), int(w), int(h)
    if w <= 0 or h <= 0 or w * h > MAX_REGION:
        raise InputError(
            f"roi: got size {brief(w)}x{brief(h)}, expected positive sides and at most {MAX_REGION} pixels"
        )
    if not (-w < x < width and -h < y < height):
        raise InputError(
            f"roi: got {brief((x, y, w, h))}, which does not touch the {width}x{height} frame; "
            "it may stick out, not leave it"
        )
    return x, y, w, h
