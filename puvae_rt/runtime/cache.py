"""Engines built for this machine, kept between runs.

A slot is a folder of the cache with the engine's files and identity.json: everything the engine depends on, and the
sha256 of every file. A slot is used only when both agree with what is asked now; otherwise it is built afresh, and
the reason is logged. Slots appear by renaming a finished folder, so no process ever sees half of one.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from puvae_rt.files import sha256_of

logger = logging.getLogger(__name__)

ENVIRONMENT = "PUVAE_CACHE"
IDENTITY_FILE = "identity.json"
_MAX_IDENTITY_BYTES = 1 << 20
_NONE_YET = "none yet"

Identity = Mapping[str, str | int]


def cache_root() -> Path:
    """$PUVAE_CACHE, or the user's cache directory of this system."""
    return Path(os.environ.get(ENVIRONMENT) or platformdirs.user_cache_dir("puvae_rt")) / "engines"


def obtain(slot: str, identity: Identity, build: Callable[[Path], Any]) -> Path | None:
    """The folder of a slot whose identity and files are as asked, built when need be.

    Args:
        slot: the folder's name.
        identity: everything the files depend on.
        build: writes the files into the empty folder it is given.
    Returns:
        The folder, or None when the cache cannot be written: the caller goes on without it.
    """
    folder = cache_root() / slot
    reason = mismatch(folder, identity)
    if reason is None:
        return folder
    logger.log(logging.INFO if reason == _NONE_YET else logging.WARNING, "building %s: %s", folder, reason)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{slot}.", dir=folder.parent) as scratch:
            _build(Path(scratch) / "new", identity, build)
            _publish(Path(scratch), folder, identity)
    except OSError as error:
        logger.warning(
            "engine cache %s cannot be written (%s): every start builds anew; set %s to a writable folder",
            folder.parent,
            error,
            ENVIRONMENT,
        )
        return None
    return folder


def mismatch(folder: Path, identity: Identity) -> str | None:
    """Why the slot may not be used, in words; None when it may."""
    path = folder / IDENTITY_FILE
    try:
        if path.stat().st_size > _MAX_IDENTITY_BYTES:
            return f"{IDENTITY_FILE} is larger than {_MAX_IDENTITY_BYTES} bytes"
        document = json.loads(path.read_text("utf-8"))
        recorded, files = dict(document["identity"]), dict(document["files"])
    except FileNotFoundError:
        return _NONE_YET
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{IDENTITY_FILE} is damaged ({error})"
    for key in sorted({*recorded, *identity}):
        if recorded.get(key) != identity.get(key):
            return f"{key} was {recorded.get(key)}, is {identity.get(key)}"
    return _changed_file(folder, files)


def _changed_file(folder: Path, files: Mapping[str, str]) -> str | None:
    for path in folder.iterdir():
        if path.name not in {*files, IDENTITY_FILE}:
            return f"{path.name} does not belong"
    for name, expected in files.items():
        try:
            if sha256_of(folder / name) != expected:
                return f"{name} was changed after it was built"
        except OSError as error:
            return f"{name} is unreadable ({error})"
    return None


def _build(folder: Path, identity: Identity, build: Callable[[Path], Any]) -> None:
    folder.mkdir()
    build(folder)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    document = {"identity": dict(identity), "files": files}
    (folder / IDENTITY_FILE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


def _publish(scratch: Path, folder: Path, identity: Identity) -> None:
    """Both renames are atomic; whoever loses a race against another process takes the winner's slot."""
    if mismatch(folder, identity) is None:
        return
    with suppress(FileNotFoundError):
        folder.rename(scratch / "stale")
    try:
        (scratch / "new").rename(folder)
    except OSError:
        if mismatch(folder, identity) is not None:
            raise
