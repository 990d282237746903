"""What a video file itself tells of its length, where the decoder's frame count is no promise.

MP4 and QuickTime list every sample, and an edit list says which of them are shown: a clip that was trimmed without
being encoded anew keeps hidden ones. Matroska, AVI and FLV tell only how many bytes there should be.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_MAX_INDEX, _MAX_SAMPLES = 64 << 20, 4 << 20  # bytes of an MP4's index that are read, samples that are counted
_FLV_TAGS = {8, 9, 18}  # sound, picture, script
_FLV_HEAD = 11  # bytes of a tag before its data

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067


@dataclass(frozen=True)
class Layout:
    """What the container says.

    Attributes:
        cut: its parts reach beyond the end of the file.
        shown: frames that a player shows; None where the container does not list them.
    """

    cut: bool = False
    shown: int | None = None


def read_layout(path: Path) -> Layout:
    """The layout of a video file; of a container that is not known, or is damaged, it tells nothing."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            file.seek(0)
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                return _mp4(file, size)
            if head[:4] == _EBML.to_bytes(4, "big"):
                return Layout(cut=_matroska_cut(file, size))
            if head[:4] == b"RIFF" and head[8:] == b"AVI ":
                return Layout(cut=_riff_cut(file, size))
            if head[:3] == b"FLV":
                return Layout(cut=_flv_cut(file, size))
    except (OSError, struct.error, ValueError, IndexError):
        pass
    return Layout()


def _mp4(file: BinaryIO, size: int) -> Layout:
    cut, shown, at = False, None, 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        elif length == 0:  # up to the end of the file
            length = size - at
        if length < 8:
            break
        cut |= at + length > size
        if kind == b"moov" and length <= _MAX_INDEX:
            shown = _shown_frames(file.read(at + length - file.tell()))
        at += length
    return Layout(cut, shown)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if not 8 <= length <= len(data) - at:
            return
        yield kind, data[at + 8 : at + length]
        at += length


def _box(data: bytes, *path: bytes) -> bytes:
    """The first box at that path; empty without one."""
    for name in path:
        data = next((inside for kind, inside in _boxes(data) if kind == name), b"")
    return data


def _shown_frames(index: bytes) -> int | None:
    """Frames of the first picture track that its edit list shows; None for fragments, which are not listed here."""
    movie = _box(index, b"mvhd")
    for kind, track in _boxes(index):
        if kind == b"trak" and _box(track, b"mdia", b"hdlr")[8:12] == b"vide":
            times = _sample_times(_box(track, b"mdia", b"minf", b"stbl"))
            if not len(times) or _box(index, b"mvex"):
                return None
            edits = _box(track, b"edts", b"elst")
            return _count(times, edits, _timescale(movie), _timescale(_box(track, b"mdia", b"mdhd")))
    return None


def _timescale(header: bytes) -> int:
    """Ticks per second, of mvhd or mdhd."""
    return int(struct.unpack_from(">I", header, 20 if header[0] else 12)[0])


def _sample_times(table: bytes) -> NDArray[np.int64]:
    """When each sample is shown, in ticks of its track."""
    durations = _runs(_box(table, b"stts"))
    times = np.cumsum(durations) - durations
    offsets = _runs(_box(table, b"ctts"))
    return times + offsets if len(offsets) == len(times) else times


def _runs(table: bytes) -> NDArray[np.int64]:
    """[count, value] pairs of 32 bits, one value per sample."""
    if len(table) < 8:
        return np.empty(0, np.int64)
    pairs = np.frombuffer(table, ">i4", offset=8, count=(len(table) - 8) // 8 * 2).reshape(-1, 2)
    counts = pairs[:, 0].astype(np.int64)
    if (counts < 0).any() or counts.sum() > _MAX_SAMPLES:
        raise ValueError("more samples than are counted")
    return np.repeat(pairs[:, 1].astype(np.int64), counts)


def _count(times: NDArray[np.int64], edits: bytes, movie_scale: int, scale: int) -> int:
    """Samples inside the edits; all of them without edits."""
    if len(edits) < 8:
        return len(times)
    entry = ">Qqi" if edits[0] else ">Iii"
    size = struct.calcsize(entry)
    shown = np.zeros(len(times), np.bool_)
    for at in range(8, len(edits) - size + 1, size):
        duration, start, _ = struct.unpack_from(entry, edits, at)
        if start >= 0:  # -1 is a pause
            end = start + duration * scale / movie_scale if duration else np.inf
            shown |= (times >= start) & (times < end)
    return int(shown.sum())


def _matroska_cut(file: BinaryIO, size: int) -> bool:
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(12)
        identity, used = _ebml_number(head, keep_marker=True)
        length, more = _ebml_number(head[used:], keep_marker=False)
        if length == (1 << 7 * more) - 1:  # not known: a live recording
            return False
        at += used + more + length
        if identity == _SEGMENT:
            return at > size
    return False


def _ebml_number(data: bytes, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length, and its bytes."""
    length = 9 - data[0].bit_length()
    value = int.from_bytes(data[:length], "big")
    return (value if keep_marker else value & ((1 << 7 * length) - 1)), length


def _riff_cut(file: BinaryIO, size: int) -> bool:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF" or not length:  # no size yet: a recording that nobody ended
            return False
        at += 8 + length + length % 2
    return at > size + 1  # the last odd byte need not be filled up


def _flv_cut(file: BinaryIO, size: int) -> bool:
    """Whether the file does not end behind a whole tag, whose size stands there."""
    file.seek(size - 4)
    (length,) = struct.unpack(">I", file.read(4))
    start = size - 4 - length
    if length < _FLV_HEAD or start < 0:
        return True
    file.seek(start)
    tag = file.read(4)
    return tag[0] & 0x1F not in _FLV_TAGS or int.from_bytes(tag[1:4], "big") + _FLV_HEAD != length
