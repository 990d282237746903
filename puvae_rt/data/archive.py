"""Arrays in an .npz file: what it declares is checked before anything is unpacked, and nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from puvae_rt.errors import DataError, FileError, PuvaeError
from puvae_rt.files import open_regular
from puvae_rt.refusal import printable

MAX_BYTES = 4 << 30  # of all arrays together, unpacked


class Archive:
    """The arrays of an .npz, each checked by its header before it is read.

    Attributes:
        path: of the file.
        names: of all its arrays.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, limit: int, error: type[PuvaeError]) -> None:
        self.path, self._archive, self._limit, self._left, self._error = path, archive, limit, limit, error
        self._members = {member.removesuffix(".npy"): member for member in archive.namelist()}
        self.names = set(self._members)
        if len(self.names) < len(archive.infolist()):
            raise ValueError("two arrays of one name")
        for member in self._members.values():
            archive.open(member).close()  # what it says of itself agrees with the directory: its name is not damaged

    def array(self, name: str) -> NDArray[Any]:
        """The array `name`.

        Raises:
            PuvaeError: the `error` of `open_archive`; it is not there, holds objects, is cut short, or all arrays
                together are larger than the limit.
        """
        if (member := self._members.get(name)) is None:
            raise self._error(f"{self.path}: {name} is missing; it holds {', '.join(sorted(self.names)) or 'nothing'}")
        with self._archive.open(member) as stream:
            shape, _, dtype = _read_header(stream)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, expected numbers or text (dtype=str)")
        size = math.prod(shape) * dtype.itemsize
        declared = self._archive.getinfo(member).file_size
        if max(size, declared) > self._left:
            shown = f"{self._limit >> 30} GB" if self._limit >= 1 << 30 else f"{self._limit >> 20} MB"
            raise self._error(f"{self.path}: unpacks to more than {shown} ({name} is {dtype} {shape}); shrink it")
        if size > declared or min(shape, default=0) < 0:
            raise ValueError(f"{name} is cut short or damaged")
        self._left -= size
        with self._archive.open(member) as stream:
            array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        return array


@contextmanager
def open_archive(
    path: Path, what: str, remedy: str, error: type[PuvaeError] = DataError, limit: int = MAX_BYTES
) -> Iterator[Archive]:
    """Yield the arrays of an .npz.

    Args:
        path: a regular file.
        what: the words behind "not " in the message about a damaged file.
        remedy: how to mend one.
        error: what is raised for it, here or in the block.
        limit: of all arrays together in bytes, unpacked.
    Raises:
        PuvaeError: an `error` that names the file.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as opened:
            yield Archive(path, opened, limit, error)
    except error:
        raise
    except Exception as problem:  # zip, zlib, LZMA and header errors share no base class
        said = problem.strerror if isinstance(problem, FileError) else printable(problem) or type(problem).__name__
        raise error(f"{path}: not {what} ({said}); {remedy}") from problem


def _read_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f".npy version {version} is not one of plain arrays")
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return header
