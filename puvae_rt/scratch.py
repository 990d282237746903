"""Scratch folders: where files grow before they take their names, and what removes them after a kill.

A scratch folder is called `.puvae-KERNEL-XXXXXXXX.tmp` and lies beside what it is for. The process that writes holds a
lock on it, and the lock ends with the process, however it ends: so a scratch folder without a lock is what a killed
process left, and the next call there removes it. Locks hold among the processes of one running kernel, containers
included, which is why its name is in there: another machine's folder on a shared drive is left over after a day without
a change, and so is one that could not be locked, whose name ends in `.unlocked`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from puvae_rt.errors import FileError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNLOCKED_SECONDS = 86_400.0  # after so long without a change, what nobody here can have locked is left over
_PREFIX, _LOCKED, _UNLOCKED = ".puvae-", ".tmp", ".unlocked"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # on the disk, for this user, in a file
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def scratch_folder(parent: Path | str, what: Path | str | None = None) -> Iterator[Path]:
    """Yield an empty folder under `parent`, which is made; it goes with the block, or at the next call after a kill.

    Args:
        parent: on the file system where the folder's content is wanted.
        what: the path that an error names; None is `parent`.
    Raises:
        FileError: it cannot be made.
    """
    parent, what = Path(parent), what or parent
    with told(what, "cannot be written"):
        parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(parent)
        scratch, lock = _new_scratch(parent)
    try:
        with told(what, "cannot be written"):
            (scratch / "new").mkdir()  # the scratch folder is for this user alone; what is published has the umask
        yield scratch / "new"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def no_empty_folders(folder: Path) -> Iterator[None]:
    """After an exception in the block, which makes `folder`: remove it and those around it, if new and empty."""
    absent = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        yield
    except BaseException:
        for each in absent:
            with suppress(OSError):  # by now somebody else uses it
                each.rmdir()
        raise


def temporary_folder() -> AbstractContextManager[Path]:
    """An empty folder among the system's temporary ones; as `scratch_folder`."""
    return scratch_folder(tempfile.gettempdir())


def remove_leftovers(folder: Path | str) -> None:
    """Remove the scratch folders that killed processes of this user left; nothing of a living one."""
    for path in sorted(Path(folder).glob(f"{_PREFIX}*")):
        with suppress(OSError):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
                continue
            if path.suffix == _LOCKED and path.name.startswith(_PREFIX + _kernel()):
                lock = _lock(path)  # an OSError where a living process has it
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
            elif path.suffix in (_LOCKED, _UNLOCKED) and time.time() - _last_change(path) > UNLOCKED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def publish(new: Path, folder: Path) -> None:
    """Put the folder `new`, which `scratch_folder` yielded, in the place of `folder`; an old one goes with the scratch.

    Raises:
        OSError: `folder` is as it was.
    """
    for parent, _, names in os.walk(new):
        for path in (*(Path(parent, name) for name in names), Path(parent)):
            if not path.is_symlink():
                sync(path)
    if not os.path.lexists(folder):  # a link to nothing is in the way, too
        new.rename(folder)
    elif not _exchange(new, folder):
        stale = new.with_name("stale")
        folder.rename(stale)
        try:
            new.rename(folder)
        except BaseException:
            stale.rename(folder)
            raise
    sync(folder.parent)


def file_error(path: Path | str, problem: str, code: int) -> FileError:
    """Its message is printable whatever the name holds."""
    return FileError(code, problem, str(path).encode(errors="backslashreplace").decode().replace("\0", "\\0"))


@contextmanager
def told(path: Path | str, problem: str, scratch: Path | None = None) -> Iterator[None]:
    """Pass an OSError of the block on as the FileError of `path`.

    Args:
        path: what the block reads or writes.
        problem: the words behind the path.
        scratch: where the block is somebody else's: errors about files elsewhere are passed on as they are.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        if scratch is not None and error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(scratch):
            raise
        raise file_error(path, f"{problem} ({error.strerror or error})", error.errno or errno.EIO) from error
    except ValueError as error:
        if not _impossible(path):
            raise
        raise file_error(path, f"{problem} (no file can have this name)", errno.EINVAL) from error


@contextmanager
def no_room_told(folder: Path, scratch: Path) -> Iterator[None]:
    """Pass an OSError of a block that writes `folder` in `scratch` on as the FileError of `folder`, if room lacks."""
    try:
        yield
    except OSError as error:
        elsewhere = error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(scratch)
        if error.errno not in _NO_ROOM or elsewhere:
            raise
        raise file_error(folder, f"cannot be written ({error.strerror})", error.errno) from error


def _impossible(path: Path | str) -> bool:
    """Whether no file can have this name: NUL, or half of a surrogate pair."""
    try:
        return b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        return True


def _new_scratch(parent: Path) -> tuple[Path, int | None]:
    """A new folder and the descriptor that locks it; None where there are no locks."""
    while True:
        scratch = Path(tempfile.mkdtemp(_LOCKED, f"{_PREFIX}{_kernel()}-", parent))
        with suppress(FileNotFoundError):  # another process took it for left over before it was locked: try again
            try:
                lock = _lock(scratch)
            except BlockingIOError:
                continue
            except FileNotFoundError:
                raise
            except OSError:
                return scratch.rename(scratch.with_suffix(_UNLOCKED)), None
            if os.path.samestat(os.fstat(lock), scratch.stat()):
                return scratch, lock
            os.close(lock)


@functools.cache
def _kernel() -> str:
    """A short name of this running kernel: another one after a restart, the same in all its containers."""
    try:
        identity = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except (OSError, ValueError):  # not Linux
        identity = platform.node()
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def _lock(folder: Path) -> int:
    """A descriptor of the folder that holds its lock; BlockingIOError when another one does."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "folders have no locks here")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _last_change(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name != "posix":  # Windows syncs no folder, and no file that is open to be read
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)


def _exchange(a: Path, b: Path) -> bool:
    """Swaps two folders in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library without it
        return False
    return bool(swap(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0)
