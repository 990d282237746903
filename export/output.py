"""The folder that a build writes, which appears whole or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name != "whole_folder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("whole_folder is now output_folder; the old name goes in 0.3", DeprecationWarning, stacklevel=2)
    return output_folder
