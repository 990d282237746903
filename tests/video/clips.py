"""Small videos, whole and damaged."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from demos.play.sinks import Mp4Writer

SIZE = (160, 120)


def textured(index: int) -> np.ndarray:
    """A frame of SIZE that moves and grows brighter."""
    return np.roll(_texture(), 3 * index, axis=1) + np.uint8(2 * (index % 80))


@cache
def _texture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 90, (120, 160, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def save(path: Path, frames: int = 40, fps: float = 25.0) -> Path:
    with Mp4Writer(path, fps, SIZE) as writer:
        for index in range(frames):
            writer.write(textured(index))
    return path


def index_first(video: bytes) -> bytes:
    """The same MP4 with its index in front: cut short, such a file still opens."""
    at = video.find(b"moov") - 4
    moov = bytearray(video[at : at + int.from_bytes(video[at : at + 4], "big")])
    table = moov.find(b"stco")
    for entry in range(int.from_bytes(moov[table + 8 : table + 12], "big")):
        place = slice(table + 12 + 4 * entry, table + 16 + 4 * entry)
        moov[place] = (int.from_bytes(moov[place], "big") + len(moov)).to_bytes(4, "big")
    head = int.from_bytes(video[:4], "big")
    return video[:head] + bytes(moov) + video[head:at]


def trimmed(video: bytes, hidden: int) -> bytes:
    """The same MP4 as cut without being encoded anew: an edit list hides its first frames, all samples are there."""
    data = bytearray(video)
    edit, table = data.find(b"elst"), data.find(b"stts")
    count, ticks = (int.from_bytes(data[table + at : table + at + 4], "big") for at in (12, 16))
    movie, media = (_ticks_per_second(data, name) for name in (b"mvhd", b"mdhd"))
    shown = round((count - hidden) * ticks * movie / media)
    data[edit + 12 : edit + 20] = shown.to_bytes(4, "big") + (hidden * ticks).to_bytes(4, "big")
    return bytes(data)


def _ticks_per_second(data: bytearray, box: bytes) -> int:
    at = data.find(box) + 16
    return int.from_bytes(data[at : at + 4], "big")


def save_as(path: Path, codec: str, frames: int = 40) -> Path:
    """A clip in the container that the suffix names."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, SIZE)
    assert writer.isOpened(), f"OpenCV writes no {path.suffix} here"
    for index in range(frames):
        writer.write(textured(index))
    writer.release()
    return path


def lengthened(matroska: bytes, factor: float) -> bytes:
    """Its header announces a longer duration, as of a sound that goes on behind the pictures."""
    at = matroska.find(b"\x44\x89\x88") + 3
    (milliseconds,) = struct.unpack_from(">d", matroska, at)
    return matroska[:at] + struct.pack(">d", factor * milliseconds) + matroska[at + 8 :]


def scrambled(video: bytes) -> bytes:
    """Its middle third replaced by noise."""
    third = len(video) // 3
    noise = np.random.default_rng(0).integers(0, 256, third, np.uint8).tobytes()
    return video[:third] + noise + video[2 * third :]


def raw_video(width: int, height: int) -> bytes:
    """A YUV4MPEG2 file that announces a size and ends in its first frame."""
    return b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\nFRAME\n" % (width, height) + bytes(1000)
