"""A folder that appears whole or not at all."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from puvae_rt.errors import BuildError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def whole_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Yields an empty folder beside `folder`, which takes its place when the block ends without an exception.

    Args:
        folder: what to write; a folder of that name is replaced if it holds `marker`, else BuildError.
        marker: the file by which a folder of ours is known.
    """
    _check_replaceable(folder, marker)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            yield new
            _publish(new, folder)
    except OSError as error:
        raise BuildError(f"{folder}: cannot be written ({error}); choose another --out") from error


def _check_replaceable(folder: Path, marker: str) -> None:
    if folder.is_symlink() or (folder.exists() and not (folder / marker).is_file()):
        raise BuildError(f"{folder}: exists and holds no {marker}, so it is not ours to replace; choose another --out")


def _publish(new: Path, folder: Path) -> None:
    """After this the old folder, if any, is where `new` was, and goes with the scratch folder."""
    if not folder.exists():
        new.rename(folder)
    elif not _exchange(new, folder):
        stale = new.with_name("stale")
        folder.rename(stale)
        try:
            new.rename(folder)
        except BaseException:
            stale.rename(folder)
            raise


def _exchange(a: Path, b: Path) -> bool:
    """Swaps two folders in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library without it
        return False
    return bool(swap(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0)
