"""The user's cache: where what can be made again is kept, and how it stays small."""

from __future__ import annotations

import functools
import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

import platformdirs

from puvae_rt.scratch import scratch_folder

logger = logging.getLogger(__name__)

VARIABLE = "PUVAE_CACHE"
MAX_KERNEL_BYTES = 128 << 20  # of compiled kernels together
IN_USE_SECONDS = 600.0  # an entry used since then may be open in another process


def cache_folder(name: str) -> Path | None:
    """The folder `name` of $PUVAE_CACHE, or of this user's cache on this system.

    None, after one warning, where there is no such place: no HOME, and no entry of this user in passwd; or a name that
    is no UTF-8, which ONNX Runtime does not take.
    """
    given = os.environ.get(VARIABLE)
    problem = "no home folder"
    with suppress(RuntimeError):
        home = Path(given or platformdirs.user_cache_dir("puvae_rt")).expanduser()
        if _is_utf8(home) and (given or home.is_absolute()):  # some versions of platformdirs answer "~/.cache"
            return home / name
        problem = problem if _is_utf8(home) else f"the name {str(home)!a} is no UTF-8"
    _warn_once(f"{problem}, and {VARIABLE} is {ascii(given) if given else 'not set'}")
    return None


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def _warn_once(problem: str) -> None:
    logger.warning("%s: nothing is cached; set %s to a writable folder", problem, VARIABLE)


def warn_unwritable(kind: str, folder: Path, error: OSError) -> None:
    """Log why the cache of a `kind` ("engine", "kernel") is gone on without."""
    reason = error.__cause__ if isinstance(error.__cause__, OSError) else error  # of a FileError: what the system said
    logger.warning(
        "%s cache %s cannot be written (%s): every start builds anew; set %s to a writable folder",
        kind,
        folder,
        reason.strerror or reason,
        VARIABLE,
    )


def mark_used(entry: Path) -> None:
    """Make an entry of a cache folder the one that `evict` takes last."""
    with suppress(OSError):  # a cache that can only be read
        os.utime(entry)


def evict(folder: Path, limit: int, pattern: str = "[!.]*") -> None:
    """Remove the least recently used entries of a cache folder until the others hold at most `limit` bytes.

    Args:
        folder: the cache folder.
        limit: of all entries together; those used within IN_USE_SECONDS stay whatever they hold.
        pattern: of the names of the entries.
    """
    now, total, entries = time.time(), 0, []
    for entry in folder.glob(pattern):
        with suppress(OSError):  # another process has removed it
            entries.append((entry.lstat().st_mtime, _bytes(entry), entry))
            total += entries[-1][1]
    if total <= limit:
        return
    with scratch_folder(folder) as scratch:
        for used, size, entry in sorted(entries):
            if total <= limit or now - used < IN_USE_SECONDS:
                break
            with suppress(OSError):
                entry.rename(scratch / entry.name)  # in one step; its files go with the scratch folder
            total -= size


def _bytes(entry: Path) -> int:
    """On the disk, of all files below."""
    status = entry.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size
    return sum(_bytes(child) for child in entry.iterdir())
