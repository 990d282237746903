"""Damage to files: to their bytes, and to what kind of file they are. Seeded, as in `mutations`."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

BIG = 20 << 30  # bytes of a sparse file: nothing may read it to its end


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The bytes with one to four places changed, cut, repeated or overwritten."""
    for _ in range(draw.randint(1, 4) if draw.random() < 0.5 else 1):
        data = _one(data, draw)
    return data


def _one(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    near_an_end = draw.random() < 0.3  # where headers and directories lie
    if near_an_end:
        at = min(len(data), draw.choice((draw.randrange(64), max(0, len(data) - 1 - draw.randrange(128)))))
    kind = draw.randrange(8)
    if kind <= 2 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    if kind == 3:
        return data[:at]
    if kind == 4:  # a page that never reached the disk
        return data[:at] + bytes(min(4096, len(data) - at)) + data[at + 4096 :]
    if kind == 5:
        return data[:at] + draw.randbytes(draw.randint(1, 64)) + data[at:]
    if kind == 6:
        number = draw.choice((0, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20)).to_bytes(4, draw.choice(("little", "big")))
        return data[:at] + number + data[at + 4 :]
    return draw.choice((b"", data[at:], data + data, data + draw.randbytes(100), bytes(len(data)), b"\0"))


def replaced(path: Path, draw: random.Random, outside: Path) -> str:
    """Puts something that is no file of its own in the place of `path`, and says what.

    Args:
        path: a file or a folder.
        draw: what is random.
        outside: a sound copy of `path`, elsewhere.
    """
    remove(path)
    kind = draw.choice(
        ("nothing", "FIFO", "zeros without end", "sparse", "folder", "outside", "nowhere", "loop", "null")
    )
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "sparse":
        path.touch()
        os.truncate(path, BIG)
    elif kind == "folder":
        path.mkdir()
    elif kind != "nothing":
        targets = {"outside": outside, "nowhere": "/nonexistent/file", "loop": path, "null": "/dev/null"}
        path.symlink_to(targets.get(kind, "/dev/zero"))
    return kind


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def restore(sound: Path, path: Path) -> Path:
    """A fresh copy of the folder `sound` at `path`."""
    remove(path)
    return Path(shutil.copytree(sound, path, symlinks=True))
