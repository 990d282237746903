"""Image files -> the pixels that models take: uint8 [N,C,H,W], gray 28x28 or RGB 32x32."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.data.headers import read_header
from puvae_rt.errors import DataError

Images = NDArray[np.uint8]  # [N,C,H,W], or one image [H,W,C]

GRAY_SIDE, COLOR_SIDE = 28, 32
MAX_PIXELS = 1 << 26  # of one image file: 67 megapixels decode to 200 MB
_OPAQUE = {"uint8": 255, "uint16": 65535}  # the alpha that hides nothing, by the pixels' type


class Picture(NamedTuple):
    """One decoded image file."""

    pixels: Images  # RGB [H,W,3]
    peak: int | None  # the largest of its 16-bit values; None where it has 8 bits


def decode(data: bytes, what: str) -> Picture:
    """The picture in an image file; of several in one file the first.

    Its announced size is checked before anything is decoded. 16-bit values become 8-bit ones, 65,535 being white.

    Args:
        data: the file's bytes.
        what: the file's name, for errors.
    Raises:
        DataError: empty, damaged, cut short, larger than MAX_PIXELS, not of 8 or 16 bits, not wholly opaque, or of
            another format than those in `puvae_rt.data.headers`.
    """
    if not data:
        raise DataError(f"{what}: an empty file, expected an image; remove or replace it")
    try:
        header = read_header(data)
    except ValueError as error:
        raise DataError(f"{what}: {error}; remove it, or save it again, as PNG or JPEG") from None
    if header.width * header.height > MAX_PIXELS:
        raise DataError(
            f"{what}: its header announces {header.width}x{header.height} pixels, expected at most "
            f"{MAX_PIXELS / 1e6:.0f} million; shrink it"
        )
    buffer = np.frombuffer(data, dtype=np.uint8)
    stored = _imdecode(buffer, cv2.IMREAD_UNCHANGED, what) if header.format != "JPEG" else None
    if stored is not None:
        _check_stored(stored, header.format, data, what)
    pixels = np.asarray(_imdecode(buffer, cv2.IMREAD_COLOR, what)[:, :, ::-1], dtype=np.uint8)
    return Picture(pixels, int(stored.max()) if stored is not None and stored.dtype == np.uint16 else None)


def _imdecode(buffer: NDArray[np.uint8], flag: int, what: str) -> NDArray[np.generic]:
    try:
        image = cv2.imdecode(buffer, flag)
    except (cv2.error, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{what}: not a readable image ({reason}); remove or replace it") from None
    if image is None:
        raise DataError(
            f"{what}: not a readable image for OpenCV {cv2.__version__}; remove it, or save it again, as PNG or JPEG"
        )
    return np.asarray(image)


def _check_stored(stored: NDArray[np.generic], format: str, data: bytes, what: str) -> None:
    """Pixels as the file has them, before they become RGB of 8 bits."""
    opaque = _OPAQUE.get(stored.dtype.name)
    if opaque is None:
        raise DataError(f"{what}: its pixels are {stored.dtype}, expected 8 or 16 bits; save it as an 8-bit PNG")
    if stored.ndim == 3 and stored.shape[2] == 4 and np.any(stored[..., 3] != opaque):
        if format == "BMP" and not np.any(stored[..., 3]):
            return  # 32 bits a pixel, of which 8 are unused
        raise _transparent(what)
    if format == "PNG" and stored.ndim == 2 and (key := _png_transparent_gray(data)) is not None:
        depth = data[24]
        shown = key * opaque // ((1 << depth) - 1)
        if np.any(stored == shown):
            raise _transparent(what)


def _transparent(what: str) -> DataError:
    return DataError(
        f"{what}: has transparent pixels, whose color would be what lies behind them; put it on the background that "
        "the camera sees and save it without alpha"
    )


def _png_transparent_gray(data: bytes) -> int | None:
    """The gray value that a PNG without an alpha channel declares transparent (tRNS), which OpenCV does not tell."""
    place = data.find(b"tRNS", 0, max(data.find(b"IDAT"), 0))
    return int.from_bytes(data[place + 4 : place + 6], "big") if place > 0 else None


def resize(image: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    """[H,W] or [H,W,C] -> [side,side,C]; areas are averaged where it shrinks, interpolated where it grows."""
    if image.shape[:2] == (side, side):
        return image.reshape(side, side, -1)
    shrinking = min(image.shape[:2]) >= side
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return np.asarray(resized).reshape(side, side, -1)


def is_gray(pixels: Images) -> bool:
    """Whether red, green and blue are equal everywhere in [H,W,3]."""
    return bool((pixels == pixels[..., :1]).all())


def to_planes(images: NDArray[np.generic]) -> Images:
    """uint8 [N,H,W,C] of any size -> [N,C,side,side]: gray at GRAY_SIDE, RGB at COLOR_SIDE."""
    side = GRAY_SIDE if images.shape[-1] == 1 else COLOR_SIDE
    if images.shape[1:3] != (side, side):
        images = np.stack([resize(image, side) for image in images])
    return np.ascontiguousarray(images.astype(np.uint8, copy=False).transpose(0, 3, 1, 2))
