"""Image files become RGB of 8 bits, or are refused with a remedy."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from puvae_rt.data.images import COLOR_SIDE, decode, resize
from puvae_rt.errors import DataError
from tests.data.trees import encode, picture

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def with_alpha(alpha: int) -> np.ndarray:
    return np.dstack([COLOR, np.full(COLOR.shape[:2], alpha, np.uint8)])


def test_pixels_are_rgb() -> None:
    assert np.array_equal(decode(encode(COLOR), "x").pixels, COLOR[:, :, ::-1])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".bmp"])
def test_transparent_pictures_are_refused_and_opaque_ones_read(suffix: str) -> None:
    with pytest.raises(DataError, match=r"transparent pixels.*background"):
        decode(encode(with_alpha(254), suffix), "x")
    assert decode(encode(with_alpha(255), suffix), "x").pixels.shape == COLOR.shape


def test_one_transparent_pixel_is_enough() -> None:
    image = with_alpha(255)
    image[3, 4, 3] = 0
    with pytest.raises(DataError, match="transparent"):
        decode(encode(image), "x")


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(("key", "refused"), [(7, True), (9, False)])
def test_a_transparent_gray_value_counts_where_it_is_used(key: int, refused: bool) -> None:
    data = encode(np.full((5, 5), 7, np.uint8))
    place = data.index(b"IDAT") - 4
    data = data[:place] + png_chunk(b"tRNS", struct.pack(">H", key)) + data[place:]
    if refused:
        with pytest.raises(DataError, match="transparent"):
            decode(data, "x")
    else:
        assert decode(data, "x").pixels.max() == 7


def test_32_bit_bmp_without_alpha_is_read() -> None:
    pixels = bytes([1, 2, 3, 0] * 6)
    head = struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, 3, 2, 1, 32, 0, len(pixels), 0, 0, 0, 0)
    assert decode(b"BM" + head + info + pixels, "x").pixels[0, 0].tolist() == [3, 2, 1]


def test_16_bits_keep_their_peak_and_white() -> None:
    white = decode(encode(np.full((4, 4), 65_535, np.uint16)), "x")
    assert white.peak == 65_535 and white.pixels.min() == 255
    assert decode(encode(np.full((4, 4), 4095, np.uint16)), "x").peak == 4095
    assert decode(encode(np.full((4, 4), 255, np.uint8)), "x").peak is None


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int16])
def test_other_numbers_are_refused(dtype: type) -> None:
    try:
        done, data = cv2.imencode(".tiff", np.ones((5, 5), dtype))
    except cv2.error:
        done = False
    if not done:
        pytest.skip("this OpenCV does not write such a TIFF")
    with pytest.raises(DataError, match="8-bit PNG"):
        decode(data.tobytes(), "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"<html><body>404</body></html>", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an image"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIF is not read"),
        (b"#?RADIANCE\n" + bytes(40), "floating point.*not read"),
    ],
)
def test_what_is_no_readable_image_says_so(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^name: .*{message}"):
        decode(data, "name")


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (40_000, 10), (10, 40_000), (33, 31)])
def test_any_shape_is_resized(shape: tuple[int, int]) -> None:
    assert resize(np.zeros((*shape, 3), np.uint8), COLOR_SIDE).shape == (COLOR_SIDE, COLOR_SIDE, 3)


def test_the_right_size_stays_as_it_is() -> None:
    image = picture(1, COLOR_SIDE)
    assert np.array_equal(resize(image, COLOR_SIDE), image)
