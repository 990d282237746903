"""Files: read within limits, written whole or not at all, hashed, locked. The one place that knows how.

Every failure is a FileError, which is an OSError as well: the path, what was got, what was expected.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from puvae_rt.errors import ContractError, FileError
from puvae_rt.scratch import (
    file_error,
    no_empty_folders,
    no_room_told,
    publish,
    remove_leftovers,
    scratch_folder,
    sync,
    temporary_folder,
    told,
)

__all__ = [
    "atomic_file",
    "atomic_folder",
    "difference",
    "locked",
    "open_regular",
    "publish",
    "read_bytes",
    "refuse_overwrite",
    "remove_leftovers",
    "scratch_folder",
    "sha256_of",
    "temporary_folder",
    "write_json",
    "write_text",
]

logger = logging.getLogger(__name__)

MAX_MEMBER_BYTES = 1 << 30  # of a bundle's file whose size nobody recorded
LOCK_SECONDS = 60.0  # to wait for another process
_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path | str, limit: int | None = None, within: Path | str | None = None) -> BinaryIO:
    """A regular file, open to be read; never waits for one that is not.

    Args:
        path: a file, or a symbolic link to one.
        limit: of its size in bytes.
        within: the folder in which it must lie once every link is followed.
    Raises:
        FileError: absent, a FIFO, device, socket or folder, larger than `limit`, or outside `within`.
    """
    with told(path, "is unreadable"), ExitStack() as on_failure:
        if within is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(within)):
            raise file_error(path, f"leads to {os.path.realpath(path)}, expected a file inside {within}", errno.EACCES)
        _require_regular(path, Path(path).stat())  # before it is opened: opening a device may do something
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = on_failure.enter_context(os.fdopen(os.open(path, flags), "rb"))
        status = os.fstat(file.fileno())
        _require_regular(path, status)  # again: it may have been exchanged meanwhile
        if limit is not None and status.st_size > limit:
            raise file_error(path, f"has {status.st_size} bytes, expected at most {limit}", errno.EFBIG)
        on_failure.pop_all()
        return file


def read_bytes(path: Path | str, limit: int, within: Path | str | None = None) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; as `open_regular`."""
    with open_regular(path, limit, within) as file, told(path, "is unreadable"):
        data = file.read(limit + 1)
    if len(data) > limit:
        raise file_error(path, f"has over {limit} bytes, expected at most as many", errno.EFBIG)
    return data


def sha256_of(path: Path | str, limit: int | None = None, within: Path | str | None = None) -> str:
    """Hex sha256 of a regular file; as `open_regular`."""
    with open_regular(path, limit, within) as file, told(path, "is unreadable"):
        return _sha256(file)


def difference(
    path: Path | str,
    sha256: str,
    size: int | None = None,
    limit: int = MAX_MEMBER_BYTES,
    within: Path | str | None = None,
) -> str | None:
    """Why a file is not the recorded one, as words to follow its name; None when it is.

    Args:
        path: the file.
        sha256: what was recorded, in hexadecimal.
        size: in bytes, if it was recorded; it is compared before anything is hashed.
        limit: of its size where none was recorded.
        within: as `open_regular` takes it.
    """
    try:
        with open_regular(path, limit if size is None else None, within) as file, told(path, "is unreadable"):
            got_size = os.fstat(file.fileno()).st_size
            if size is not None and got_size != size:
                return f"has {got_size} bytes, expected {size}"
            got = _sha256(file)
    except FileError as error:
        return error.strerror
    return None if got == sha256 else f"was changed: its sha256 is {got[:12]}..., expected {sha256[:12]}..."


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` on success.

    The temporary file has the name of `path`, in a scratch folder beside it; the block has to write it. The folder of
    `path` is made. A symbolic link is replaced; what it points to stays as it is. Any exception leaves `path` alone.

    Raises:
        FileError: it cannot be written, by this function or by the block, or `path` is no regular file.
    """
    path = Path(path)
    with told(path, "cannot be written"):
        if path.exists():
            _require_regular(path, path.stat())
    with no_empty_folders(path.parent), scratch_folder(path.parent, path) as scratch:
        part = scratch / path.name
        with told(path, "cannot be written", scratch):
            yield part
            part.chmod(scratch.stat().st_mode & 0o666)  # as the umask has it: some writers make files for one user
            sync(part)
            part.replace(path)
            sync(path.parent)


@contextmanager
def atomic_folder(folder: Path | str, marker: str) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` on success; exceptions of the block go on, but for a full disk's.

    Args:
        folder: a new one, or one that holds `marker`.
        marker: the file by which a folder of ours is known.
    Raises:
        FileError: it cannot be written, there is no room, or it is not ours to replace.
    """
    folder = Path(folder)
    with told(folder, "cannot be written"):
        if folder.is_symlink() or (folder.exists() and not (folder / marker).is_file()):
            raise file_error(folder, f"exists and holds no {marker}, so it is not ours to replace", errno.EEXIST)
    with no_empty_folders(folder.parent), scratch_folder(folder.parent, folder) as new, no_room_told(folder, new):
        yield new
        with told(folder, "cannot be written"):
            publish(new, folder)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, whole or not at all; a stream such as /dev/stdout or a FIFO is written as it is.

    Raises:
        FileError: it cannot be written.
    """
    path = Path(path)
    if _is_stream(path):
        with told(path, "cannot be written"), path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    else:
        with atomic_file(path) as part:
            part.write_text(text, "utf-8")


def write_json(path: Path | str, value: Any, sort_keys: bool = False) -> None:
    """Write strict JSON, as `write_text`.

    Raises:
        FileError: it cannot be written, or `value` holds NaN or infinity, which JSON has not.
    """
    try:
        text = json.dumps(value, indent=1, allow_nan=False, sort_keys=sort_keys)
    except ValueError as error:
        raise file_error(path, f"cannot be written as JSON ({error}), expected finite numbers", errno.EINVAL) from error
    write_text(path, text + "\n")


def refuse_overwrite(
    outputs: Mapping[str, Path | None],
    inputs: Mapping[str, Path | str | None],
    sealed: Mapping[str, Path] | None = None,
) -> None:
    """Raise where writing an output would destroy an input or another output; to be called before anything is opened.

    Links, hard or symbolic, are followed, and names that differ in case only are the same: on some disks they are.

    Args:
        outputs: what is to be written, by the option that names it; None is left out. A folder is replaced as a whole.
        inputs: files and folders that are read, in the same way.
        sealed: folders that nothing may be written into, such as bundles.
    Raises:
        ContractError: two of them are one, an input lies inside an output, or an output inside a sealed folder or
            another output.
    """
    sealed = sealed or {}
    taken = [(name, Path(path)) for name, path in {**inputs, **sealed}.items() if path is not None]
    for name, path in outputs.items():
        if path is None or _is_stream(path):
            continue
        for other, known in taken:
            if _overlap(path, known) or (other in {**sealed, **outputs} and _folded(known) in _folded(path).parents):
                raise ContractError(
                    f"{name}: got {path}, which would overwrite {other} ({known}) or part of it; expected another path"
                )
        taken.append((name, path))


def _overlap(output: Path, known: Path) -> bool:
    """Whether they are one, or the output is a folder around the other."""
    here, there = _folded(output), _folded(known)
    if _exists(output) and _exists(known):
        return output.samefile(known) or here in there.parents
    return here == there


def _exists(path: Path) -> bool:
    """False, too, for a name that no file can have, as a long URL."""
    try:
        return path.exists()
    except OSError:
        return False


def _folded(path: Path) -> Path:
    return Path(os.path.realpath(path).casefold())


@contextmanager
def locked(path: Path | str, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of `path`, a file that processes read and write in turn; its lock file lies beside it.

    Where the folder cannot be written there is no writer to keep out, and where it has no locks there is no way to: the
    block runs without, and the second is logged.

    Raises:
        FileError: another process has held it for `seconds`.
    """
    import filelock  # here: a purifier that only reads needs none of it

    path = Path(path)
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except filelock.Timeout:
        problem = f"another process has kept it locked for {seconds:g} s, expected less; end that one or wait for it"
        raise file_error(path, problem, errno.ETIMEDOUT) from None
    except (OSError, NotImplementedError) as error:
        if os.access(path.parent, os.W_OK):
            logger.warning("%s: cannot be locked (%s); let one process at a time write it", path, error)
    try:
        yield
    finally:
        lock.release()


def _require_regular(path: Path | str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise file_error(path, f"is {kind}, expected a regular file", errno.EINVAL)


def _is_stream(path: Path) -> bool:
    """Something to be written into rather than replaced, or a name that stands for an open file."""
    path = path.absolute()
    if path.is_relative_to("/dev/shm"):
        return False
    return path.is_relative_to("/dev") or path.is_relative_to("/proc") or path.is_fifo()


def _sha256(file: BinaryIO) -> str:
    """Of no more than the size that the file had when it was opened: it may grow for ever."""
    digest, left = hashlib.sha256(), os.fstat(file.fileno()).st_size
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()
