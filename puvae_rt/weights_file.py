"""Weights are written whole or not at all, with PyTorch or without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from puvae_rt.errors import CheckpointError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write the .safetensors that becomes `path`, whose folder is made, once all of it is there.

    Raises:
        CheckpointError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: not written ({error}); make room, or give a path that can be written"
        ) from error
