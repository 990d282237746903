"""Weights are written whole or not at all, with PyTorch or without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from puvae_rt._moved import renamed
from puvae_rt.errors import CheckpointError
from puvae_rt.files import atomic_file


@contextmanager
def atomic_weights(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a .safetensors that replaces `path` on success; the folder of `path` is made.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        with atomic_file(path) as part:
            yield part
    except (OSError, SafetensorError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(
            f"{path}: not written ({problem}); make room, or give a path that can be written"
        ) from error


__getattr__ = renamed(__name__, {"whole": "atomic_weights"})
