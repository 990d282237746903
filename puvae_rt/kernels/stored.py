"""Kernels that were compiled on this machine, in the user's cache: each behind its digest, so that none is half."""

from __future__ import annotations

import hashlib
from pathlib import Path

from puvae_rt.errors import FileError
from puvae_rt.files import atomic_file, read_bytes
from puvae_rt.user_cache import MAX_KERNEL_BYTES, evict, mark_used, warn_unwritable

_MAX_BYTES = 64 << 20  # of one entry; the product's have a few megabytes at most
_DIGEST_BYTES = 32


def load(path: Path) -> bytes | None:
    """What `store` wrote, or None: nothing, or something else since."""
    try:
        content = read_bytes(path, _MAX_BYTES)
    except FileError:
        return None
    digest, image = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(image).digest() != digest:
        return None
    mark_used(path)
    return image


def store(path: Path, image: bytes) -> None:
    """Whole or, where the cache cannot be written, not at all; the oldest of its kind make room.

    Args:
        path: a name of the cache folder, "<kind>-<key>.bin".
        image: what to keep.
    """
    try:
        with atomic_file(path) as part:
            part.write_bytes(hashlib.sha256(image).digest() + image)
        evict(path.parent, MAX_KERNEL_BYTES, f"{path.name.partition('-')[0]}-*")
    except OSError as error:
        warn_unwritable("kernel", path.parent, error)
