"""The folder that a build writes, which appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from puvae_rt._moved import renamed
from puvae_rt.errors import BuildError, FileError
from puvae_rt.files import atomic_folder


def check_output(folder: Path, marker: str) -> None:
    """Raises BuildError where `output_folder` would: to be called before work is done."""
    if folder.is_symlink() or (folder.exists() and not (folder / marker).is_file()):
        raise BuildError(f"{folder}: exists and holds no {marker}, so it is not ours to replace; choose another --out")
    parent = next(parent for parent in folder.absolute().parents if parent.exists() or parent.is_symlink())
    if not parent.is_dir():
        raise BuildError(f"{folder}: cannot be written ({parent} is no folder); choose another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise BuildError(f"{folder}: cannot be written (no permission to write into {parent}); choose another --out")


@contextmanager
def output_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` on success.

    Args:
        folder: what to write; a folder of that name is replaced if it holds `marker`.
        marker: the file by which a folder of ours is known.
    Raises:
        BuildError: `folder` is not ours to replace, or cannot be written.
    """
    try:
        with atomic_folder(folder, marker) as new:
            yield new
    except FileError as error:
        if error.filename != str(folder):  # the block's own, about another file
            raise
        raise BuildError(f"{error}; choose another --out") from error


__getattr__ = renamed(__name__, {"whole_folder": "output_folder"})
