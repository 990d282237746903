"""Engines built for this machine, kept between runs.

A slot is a folder of the cache, named by a hash of everything the engine depends on (its identity), with the engine's
files and identity.json: that identity, and the sha256 of every file. A slot is used only when both agree with what is
asked now and the engine opens; otherwise it is built afresh, and the reason is logged. Slots appear by renaming a
finished folder, so no process ever sees half of one, and the least recently used ones go when all hold over MAX_BYTES.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from puvae_rt.errors import BundleError, DeviceError, FileError
from puvae_rt.files import difference, publish, read_bytes, remove_leftovers, scratch_folder, sha256_of, write_json
from puvae_rt.refusal import printable
from puvae_rt.schema import PlainFileName, Sha256, Text, decode
from puvae_rt.user_cache import VARIABLE, cache_folder, evict, mark_used, warn_unwritable

logger = logging.getLogger(__name__)

ENVIRONMENT = VARIABLE
IDENTITY_FILE = "identity.json"
MAX_BYTES = 2 << 30  # of all slots together
_MAX_IDENTITY_BYTES = 1 << 20
_NONE_YET = "none yet"
_UNUSABLE = (BundleError, DeviceError, OSError)  # OSError: another process has just removed the slot

Identity = Mapping[str, str | int]
T = TypeVar("T")


@dataclass(frozen=True)
class Slot:
    """identity.json."""

    identity: dict[Text, Text | int]
    files: dict[PlainFileName, Sha256]


def cache_root() -> Path | None:
    """The folder of all slots; None where the user has no cache."""
    return cache_folder("engines")


def obtain(slot: str, identity: Identity, build: Callable[[Path], Any]) -> Path | None:
    """The folder of a slot whose identity and files are as asked, built when need be; as `open_cached`."""
    return open_cached(slot, identity, build, lambda folder: folder)


def open_cached(slot: str, identity: Identity, build: Callable[[Path], Any], opened: Callable[[Path], T]) -> T | None:
    """What `opened` makes of a slot whose identity and files are as asked, built when need be.

    Args:
        slot: how the folder's name begins.
        identity: everything the files depend on.
        build: writes the files into the empty folder it is given.
        opened: opens them; a BundleError, DeviceError or OSError of a slot that was found makes it be built once
            more.
    Returns:
        What `opened` returned, or None when the cache cannot be used, which is logged: the caller goes on without it.
    """
    root = cache_root()
    if root is None:
        return None
    folder = root / f"{slot}-{_digest(identity)}"
    reason, damaged = mismatch(folder, identity), False
    if reason is None:
        try:
            value = opened(folder)
            mark_used(folder)
            remove_leftovers(root)
            return value
        except _UNUSABLE as error:
            reason, damaged = f"what it holds cannot be used ({error})", True
    logger.log(logging.INFO if reason == _NONE_YET else logging.WARNING, "building %s: %s", folder, reason)
    try:
        with scratch_folder(root) as new:
            _build(new, identity, build)
            if damaged or mismatch(folder, identity) is not None:  # else another process was faster
                publish(new, folder)
        evict(root, MAX_BYTES)
    except OSError as error:
        if not _is_about(error, root):  # of what the build reads
            raise
        warn_unwritable("engine", root, error)
        return None
    try:
        return opened(folder)
    except _UNUSABLE as error:
        logger.warning("engine cache %s: what was just built in it cannot be used (%s): going on without", root, error)
        return None


def forget(folder: Path) -> None:
    """Remove a slot whose engine was refused, so that the next start builds it anew; any other folder is left alone."""
    root = cache_root()
    if root is None or folder.parent != root:
        return
    logger.warning("%s is refused: the next start builds it anew", folder)
    with suppress(OSError), scratch_folder(root) as scratch:
        folder.rename(scratch / folder.name)


def mismatch(folder: Path, identity: Identity) -> str | None:
    """Why the slot may not be used, in words; None when it may."""
    path = folder / IDENTITY_FILE
    try:
        slot = decode(read_bytes(path, _MAX_IDENTITY_BYTES, folder), Slot, IDENTITY_FILE, "it is built anew")
    except FileError as error:
        return _NONE_YET if error.errno == errno.ENOENT else f"{IDENTITY_FILE} is damaged ({error.strerror})"
    except BundleError as error:
        return f"{IDENTITY_FILE} is damaged ({error})"
    for key in sorted({*slot.identity, *identity}):
        if slot.identity.get(key) != identity.get(key):
            return printable(f"{key} was {slot.identity.get(key)}, is {identity.get(key)}")
    try:
        foreign = {path.name for path in folder.iterdir()} - {*slot.files, IDENTITY_FILE}
    except OSError as error:
        return f"it cannot be listed ({error.strerror})"
    if foreign:
        return f"{ascii(min(foreign))[1:-1]} does not belong"
    for name, expected in slot.files.items():
        if (changed := difference(folder / name, expected, within=folder)) is not None:
            return f"{name} {changed}"
    return None


def _is_about(error: OSError, root: Path) -> bool:
    """Whether it names a file of the cache, or none: as a full disk does."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    return not names or any(Path(name).is_relative_to(root) for name in names)


def _build(folder: Path, identity: Identity, build: Callable[[Path], Any]) -> None:
    build(folder)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    write_json(folder / IDENTITY_FILE, {"identity": dict(identity), "files": files})


def _digest(identity: Identity) -> str:
    return hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()[:16]
