"""Image files announce their size: it is read as the decoder reads it, and believed before anything is decoded."""

from __future__ import annotations

import resource
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from puvae_rt.data.headers import READ, read_header
from puvae_rt.data.images import MAX_PIXELS, decode
from puvae_rt.errors import DataError
from tests.data.trees import encode

WIDTH, HEIGHT = 300, 200
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
SUFFIXES = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "GIF": ".gif",
    "BMP": ".bmp",
    "WebP": ".webp",
    "TIFF": ".tiff",
    "PNM": ".ppm",
    "PAM": ".pam",
    "Sun raster": ".ras",
    "JPEG 2000": ".jp2",
    "AVIF": ".avif",
}


def written(suffix: str) -> bytes:
    try:
        done, data = cv2.imencode(suffix, IMAGE)
    except cv2.error:
        done = False
    if not done:
        pytest.skip(f"this OpenCV does not write {suffix}")
    return data.tobytes()


def test_every_format_that_is_read_is_tried_here() -> None:
    assert set(SUFFIXES) == set(READ)


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_header_is_read_as_opencv_reads_it(format: str) -> None:
    data = written(SUFFIXES[format])
    assert read_header(data) == (format, WIDTH, HEIGHT)
    assert decode(data, "x").pixels.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("format", SUFFIXES)
def test_every_cut_of_a_file_is_a_data_error_or_a_whole_picture(format: str) -> None:
    data = written(SUFFIXES[format])
    for length in {0, 1, 7, 8, 11, 13, 17, 21, 25, 30, 60, 200, len(data) // 3, len(data) * 2 // 3}:
        with pytest.raises(DataError, match=r"^x: "):
            decode(data[:length], "x")


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def patched(suffix: str, find: bytes, replace: bytes) -> Callable[[], bytes]:
    """A file of 300x200 whose header is made to announce another size."""

    def make() -> bytes:
        data = written(suffix)
        assert find in data
        return data.replace(find, replace)

    return make


class Absurd(NamedTuple):
    id: str
    make: Callable[[], bytes]


ABSURD = (
    Absurd("PNG 40000x40000", lambda: png(40_000, 40_000)),
    Absurd("PNG 2^31-1 square", lambda: png(2**31 - 1, 2**31 - 1)),
    Absurd("JPEG 65500 square", patched(".jpg", struct.pack(">HH", HEIGHT, WIDTH), struct.pack(">HH", 65_500, 65_500))),
    Absurd("BMP", patched(".bmp", struct.pack("<ii", WIDTH, HEIGHT), struct.pack("<ii", 2**31 - 1, -(2**31)))),
    Absurd("PPM", patched(".ppm", b"300 200", b"40000 40000")),
    Absurd("PPM with a comment", patched(".ppm", b"300 200", b"#x\n9999999999 # y\n 9999999999")),
    Absurd("PAM", patched(".pam", b"WIDTH 300", b"WIDTH 300000000")),
    Absurd("Sun raster", patched(".ras", struct.pack(">II", WIDTH, HEIGHT), struct.pack(">II", 1 << 30, 1 << 30))),
    Absurd("GIF", patched(".gif", struct.pack("<HH", WIDTH, HEIGHT), struct.pack("<HH", 65_535, 65_535))),
    Absurd("JPEG 2000", patched(".jp2", struct.pack(">II", WIDTH, HEIGHT), struct.pack(">II", 1 << 30, 1 << 30))),
    Absurd("AVIF", patched(".avif", struct.pack(">II", WIDTH, HEIGHT), struct.pack(">II", 1 << 20, 1 << 20))),
    Absurd("WebP canvas", lambda: b"RIFF\x1e\0\0\0WEBPVP8X\n\0\0\0" + b"\0" * 4 + b"\xff\xff\xff" * 2 + b"\0" * 20),
    Absurd("TIFF little-endian", lambda: tiff("<", 40_000, 40_000)),
    Absurd("TIFF big-endian", lambda: tiff(">", 40_000, 40_000)),
    Absurd("BigTIFF", lambda: tiff("<", 40_000, 40_000, big=True)),
    Absurd("TIFF of one huge tile", lambda: tiff("<", 16, 16, tile=1 << 16)),
)


def tiff(order: str, width: int, height: int, tile: int = 0, big: bool = False) -> bytes:
    tags = [(256, width), (257, height)] + ([(322, tile), (323, tile)] if tile else [])
    mark = b"II" if order == "<" else b"MM"
    if big:
        entries = b"".join(struct.pack(f"{order}HHQQ", tag, 4, 1, value) for tag, value in tags)
        return mark + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(tags)) + entries + bytes(8)
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    return mark + struct.pack(f"{order}HIH", 42, 8, len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("case", ABSURD, ids=lambda case: case.id)
def test_absurd_sizes_are_refused_from_the_header(case: Absurd, monkeypatch: pytest.MonkeyPatch) -> None:
    data = case.make()
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match="header announces"):
        decode(data, "x")


def test_a_small_file_of_a_large_picture_costs_no_memory() -> None:
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(3_000_100)) for _ in range(300)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="30000x30000"):
        decode(png(30_000, 30_000, rows), "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB
    assert MAX_PIXELS < 30_000**2


def test_a_png_chunk_that_is_longer_than_its_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(IMAGE)
    place = data.index(b"IDAT") - 4
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for length in (len(data), 2**31 - 1, 2**32 - 1):
        with pytest.raises(DataError, match="cut short or damaged"):
            decode(data[:place] + struct.pack(">I", length) + data[place + 4 :], "x")


def test_a_frame_of_an_animated_png_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(IMAGE)
    place = data.index(b"IDAT") - 4
    frame = b"fcTL" + struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, 0, 0)
    chunk = struct.pack(">I", len(frame) - 4) + frame + struct.pack(">I", zlib.crc32(frame))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match="60000x60000"):
        decode(data[:place] + chunk + data[place:], "x")


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = encode(IMAGE, ".jpg")
    scan = data.index(b"\xff\xda")
    with pytest.raises(DataError, match="scans"):
        decode(data[:scan] + data[scan : scan + 20] * 300 + data[scan:], "x")


@pytest.mark.parametrize("format", SUFFIXES)
def test_damaged_files_are_data_errors_and_take_no_memory(format: str) -> None:
    """Bytes exchanged, left out and put in, most of them where the header is."""
    rng = np.random.default_rng(1)
    whole = written(SUFFIXES[format])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, 400 if rng.random() < 0.7 else len(data), rng.integers(1, 6)).tolist():
            data[place : place + int(rng.integers(3))] = rng.bytes(int(rng.integers(3)))
        try:
            read += decode(bytes(data), "x").pixels.ndim == 3
        except DataError as error:
            assert str(error).startswith("x: ")
    assert read < 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # KiB
