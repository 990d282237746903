"""The folder that a build writes, which appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from puvae_rt._moved import renamed
from puvae_rt.errors import BuildError, FileError
from puvae_rt.files import atomic_folder


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
