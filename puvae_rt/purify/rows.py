"""One row's image, in any form that a table or a folder has it, to what a model takes, and back to the same form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.contract import ImageContract
from puvae_rt.data.folder import MAX_FILE_BYTES
from puvae_rt.data.images import MAX_PIXELS, decode
from puvae_rt.errors import DataError, EngineError, InputError, PuvaeError
from puvae_rt.refusal import printable
from puvae_rt.runtime.preprocess import as_batch, as_input
from puvae_rt.runtime.results import Floats

FILE, CHANNELS_FIRST, CHANNELS_LAST, PLAIN = "file", "chw", "hwc", "hw"


class Form(NamedTuple):
    """How an image is given: `layout` FILE (an image file's bytes), or of an array; `dtype` uint8 or float32."""

    layout: str
    dtype: str = "uint8"


class Inputs(NamedTuple):
    """Rows as a model takes them.

    Attributes:
        images: float32 [N,C,H,W] in [0,1]; zeros where there is a problem.
        problems: [N], why a row has no image; empty where it has one.
    """

    images: Floats
    problems: list[str]


def to_inputs(values: Iterable[Any], contract: ImageContract, names: Iterable[str] | None = None) -> Inputs:
    """Rows as a model takes them; a broken one becomes a problem, never an error.

    Args:
        values: of each row the bytes of an image file, or an array: uint8 of any size, [H,W], [H,W,C] or [C,H,W], RGB;
            or float32 in [0,1] of the model's size.
        contract: the images' shape.
        names: of the rows, for the problems.
    """
    if isinstance(values, np.ndarray) and values.dtype != object and _fits(values, contract):
        try:
            return Inputs(as_batch(values, contract), [""] * len(values))
        except InputError:
            pass  # one row by one, to tell the broken ones
    images, problems = [], []
    labels = iter(names) if names is not None else (f"row {i}" for i in range(1 << 62))
    for value, name in zip(values, labels, strict=False):
        try:
            images.append(one_input(value, contract, name))
            problems.append("")
        except (PuvaeError, cv2.error, MemoryError) as error:
            images.append(np.zeros((1, *contract.shape), np.float32))
            problems.append(printable(error))
    joined = np.concatenate(images) if images else np.empty((0, *contract.shape), np.float32)
    return Inputs(joined, problems)


def one_input(value: Any, contract: ImageContract, name: str) -> Floats:
    """One row's image, float32 [1,C,H,W]; a PuvaeError says why there is none."""
    if isinstance(value, bytes | bytearray | memoryview):
        if len(value) > MAX_FILE_BYTES:
            raise DataError(f"{name}: {len(value)} bytes, expected at most {MAX_FILE_BYTES}; shrink it")
        pixels = decode(bytes(value), name).pixels
        return as_input(np.ascontiguousarray(pixels[..., ::-1]), None, contract)
    if value is None:
        raise DataError(f"{name}: got no value, expected an image; leave the row out")
    array = np.asarray(value)
    if array.dtype == np.float32:
        return as_batch(array[None], contract)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size or array.size > 3 * MAX_PIXELS:
        got = f"{array.dtype} {array.shape}"
        raise InputError(f"{name}: got {got}, expected an image file's bytes, or uint8 [H,W] or [H,W,C]; convert it")
    return as_input(_bgr(array, name), None, contract)


def form_of(values: Any) -> Form:
    """The form of a column: of its first row that is there."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return Form(_layout(values.shape[1:]), "float32" if values.dtype == np.float32 else "uint8")
    first = next((value for value in values if value is not None), b"")
    if isinstance(first, bytes | bytearray | memoryview):
        return Form(FILE)
    array = np.asarray(first)
    return Form(_layout(array.shape), "float32" if array.dtype == np.float32 else "uint8")


def to_form(images: Floats, form: Form, problems: list[str]) -> NDArray[Any]:
    """Purified images [N,C,H,W] as an array of the given form; no bytes where there is a problem.

    Returns:
        Of FILE an object array [N] of PNG bytes; otherwise uint8 or float32 in the layout, of the model's sides.
    """
    if form.layout == FILE:
        files = np.empty(len(images), object)
        for i, (image, problem) in enumerate(zip(to_bytes(images), problems, strict=True)):
            files[i] = b"" if problem else png(image)
        return files
    values: NDArray[Any] = images if form.dtype == "float32" else to_bytes(images)
    if form.layout == CHANNELS_FIRST:
        return values
    last = values.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(last[..., 0] if form.layout == PLAIN and last.shape[-1] == 1 else last)


def to_bytes(images: Floats) -> NDArray[np.uint8]:
    """float32 in [0,1] -> uint8, to the nearest; NaN becomes 0."""
    values: NDArray[np.uint8] = np.rint(np.nan_to_num(images) * np.float32(255)).astype(np.uint8)
    return values


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 [C,H,W], gray or RGB."""
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image[::-1].transpose(1, 2, 0))
    good, data = cv2.imencode(".png", pixels)
    if not good:
        raise EngineError(f"PNG: OpenCV {cv2.__version__} did not encode {image.shape}; install another OpenCV")
    return bytes(data)


def _fits(values: NDArray[Any], contract: ImageContract) -> bool:
    c, h, w = contract.shape
    return len(values) > 0 and values.shape[1:] in ((c, h, w), (h, w, c), *(((h, w),) if c == 1 else ()))


def _layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return PLAIN
    return CHANNELS_FIRST if len(shape) == 3 and shape[0] in (1, 3) and shape[-1] not in (1, 3) else CHANNELS_LAST


def _bgr(array: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """uint8 [H,W], [H,W,C] or [C,H,W], RGB -> BGR [H,W,3] or gray [H,W]."""
    if array.ndim == 2:
        return np.asarray(array, order="C")
    last = array.transpose(1, 2, 0) if _layout(array.shape) == CHANNELS_FIRST else array
    if last.shape[-1] not in (1, 3):
        raise InputError(f"{name}: got uint8 {array.shape}, expected 1 or 3 channels; drop alpha")
    bgr: NDArray[np.uint8] = np.ascontiguousarray(last[..., 0] if last.shape[-1] == 1 else last[..., ::-1])
    return bgr
