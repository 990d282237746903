"""Where files are read and written: a folder of this machine, or any address that fsspec knows (s3://, gs://, ...)."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from puvae_rt.data.folder import IGNORED
from puvae_rt.errors import ContractError, DataError, FileError
from puvae_rt.files import open_regular, read_bytes, scratch_folder
from puvae_rt.refusal import install, printable
from puvae_rt.scratch import file_error, sync, told

_SCHEME = re.compile(r"\A([a-zA-Z][a-zA-Z0-9+.-]+)://")
_LOCAL = ("file", "local")
_COPY_BYTES = 1 << 20


class Entry(NamedTuple):
    """One file: its name below the place, its size in bytes, and a text that changes when its content does."""

    name: str
    size: int
    stamp: str


class Place(Protocol):
    """A folder, here or elsewhere. Names are relative and use "/"."""

    uri: str

    def files(self, below: str = "") -> list[Entry]:
        """Every file below a folder, by name, hidden ones left out; none where the folder is not there."""

    def read(self, name: str, limit: int) -> bytes:
        """A file's bytes; FileError when absent or longer than `limit`."""

    def open(self, name: str) -> BinaryIO:
        """A file to be read in any order."""

    def as_path(self, name: str) -> Any:
        """A context that yields the file's path on this machine; a copy where it lies elsewhere."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files, each whole or not at all; all of them are there when it returns."""

    def publish(self, name: str, path: Path) -> None:
        """Puts a finished file of this machine there, whole or not at all; it may be moved."""

    def remove(self, names: list[str]) -> None:
        """Removes files; absent ones are none the less gone."""


class LocalPlace:
    """A folder of this machine, or one file of it."""

    def __init__(self, root: Path, only: str | None = None) -> None:
        self.root, self._only, self.uri = root, only, str(root)

    def files(self, below: str = "") -> list[Entry]:
        """As `Place`; links to folders are not followed, and a FIFO or device is a DataError."""
        found: list[Entry] = []
        if self._only is not None:
            return [_entry(self.root / self._only, self._only)]
        for folder, folders, names in os.walk(self.root / below, onerror=_raise_unless_absent):
            folders[:] = sorted(name for name in folders if _shown(name))
            for name in filter(_shown, names):
                path = Path(folder, name)
                found.append(_entry(path, path.relative_to(self.root).as_posix()))
        return sorted(found)

    def read(self, name: str, limit: int) -> bytes:
        """As `Place`."""
        return read_bytes(self.root / name, limit)

    def open(self, name: str) -> BinaryIO:
        """As `Place`."""
        return open_regular(self.root / name)

    def as_path(self, name: str) -> Any:
        """As `Place`: the file itself."""
        return nullcontext(self.root / name)

    def write(self, files: Mapping[str, bytes]) -> None:
        """As `Place`: on the disk, whatever happens to the machine."""
        with scratch_folder(self.root) as scratch:
            parts = []
            for number, data in enumerate(files.values()):
                (part := scratch / str(number)).write_bytes(data)
                parts.append(part)
            for part in parts:
                sync(part)
            for name, part in zip(files, parts, strict=True):
                self._put(part, name)
            for folder in {(self.root / name).parent for name in files}:
                sync(folder)

    def publish(self, name: str, path: Path) -> None:
        """As `Place`: moved."""
        with scratch_folder(self.root) as scratch:
            part = scratch / "0"
            shutil.move(path, part)
            sync(part)
            self._put(part, name)
            sync((self.root / name).parent)

    def remove(self, names: list[str]) -> None:
        """As `Place`."""
        for name in names:
            with told(self.root / name, "cannot be removed"):
                (self.root / name).unlink(missing_ok=True)

    def _put(self, part: Path, name: str) -> None:
        path = self.root / name
        with told(path, "cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.replace(path)


class RemotePlace:
    """A folder at an address of fsspec, or one file there. A file is one object, and appears whole."""

    def __init__(self, uri: str, filesystem: Any, root: str, only: str | None = None) -> None:
        self.uri, self._fs, self._root, self._only = uri, filesystem, root.rstrip("/"), only

    def files(self, below: str = "") -> list[Entry]:
        """As `Place`; a name that would lead out of a folder is a DataError."""
        if self._only is not None:
            return [self._entry(self._only, self._fs.info(self._at(self._only)))]
        with _told(self.uri):
            self._fs.invalidate_cache()
            found = self._fs.find(self._at(below), detail=True)
        entries = []
        for path, info in found.items():
            name = path.removeprefix(self._root).lstrip("/")
            inside = name.removeprefix(below).lstrip("/")
            if all(map(_shown, PurePosixPath(inside).parts)) and not name.endswith("/"):
                entries.append(self._entry(name, info))
        return sorted(entries)

    def read(self, name: str, limit: int) -> bytes:
        """As `Place`."""
        with _told(f"{self.uri}/{name}"):
            if (size := self._fs.info(self._at(name))["size"]) > limit:
                raise file_error(f"{self.uri}/{name}", f"has {size} bytes, expected at most {limit}", errno.EFBIG)
            return bytes(self._fs.cat_file(self._at(name)))

    def open(self, name: str) -> BinaryIO:
        """As `Place`."""
        with _told(f"{self.uri}/{name}"):
            return cast(BinaryIO, self._fs.open(self._at(name), "rb"))

    @contextmanager
    def as_path(self, name: str) -> Iterator[Path]:
        """As `Place`: a copy among the temporary files, for as long as the context."""
        with tempfile.TemporaryDirectory(prefix="puvae-") as folder, self.open(name) as source:
            path = Path(folder, PurePosixPath(name).name)
            with path.open("wb") as copy:
                shutil.copyfileobj(source, copy, _COPY_BYTES)
            yield path

    def write(self, files: Mapping[str, bytes]) -> None:
        """As `Place`."""
        for name, data in files.items():
            with _told(f"{self.uri}/{name}"):
                self._fs.makedirs(PurePosixPath(self._at(name)).parent.as_posix(), exist_ok=True)
                self._fs.pipe_file(self._at(name), data)

    def publish(self, name: str, path: Path) -> None:
        """As `Place`."""
        with _told(f"{self.uri}/{name}"):
            self._fs.makedirs(PurePosixPath(self._at(name)).parent.as_posix(), exist_ok=True)
            self._fs.put_file(str(path), self._at(name))

    def remove(self, names: list[str]) -> None:
        """As `Place`."""
        for name in names:
            with _told(f"{self.uri}/{name}"):
                if self._fs.exists(self._at(name)):
                    self._fs.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _entry(self, name: str, info: Mapping[str, Any]) -> Entry:
        _require_safe(name, self.uri)
        marks = [str(info.get(key, "")) for key in ("size", "ETag", "etag", "md5", "LastModified", "mtime", "created")]
        return Entry(name, int(info.get("size") or 0), hashlib.sha256("|".join(marks).encode()).hexdigest()[:8])


def is_remote(uri: str) -> bool:
    """Whether it is an address rather than a path of this machine."""
    scheme = _SCHEME.match(uri)
    return scheme is not None and scheme[1].lower() not in _LOCAL


def open_place(uri: str, *, wanted: str = "folder") -> Place:
    """A folder, or with `wanted` "input" a folder or a file that has to be there.

    Raises:
        DataError: an input that is not there.
        ContractError: an address that fsspec does not know, or whose package is missing.
    """
    if not is_remote(uri):
        path = Path(os.path.abspath(uri.split("://", 1)[1] if _SCHEME.match(uri) else uri))  # noqa: PTH100
        if wanted == "folder" or path.is_dir():
            return LocalPlace(path)
        if not path.is_file():
            raise DataError(f"{uri}: no such file or folder; expected images, .npz, Parquet or a video")
        return LocalPlace(path.parent, path.name)
    filesystem, root = _filesystem(uri)
    root = root.rstrip("/")
    with _told(uri):
        if wanted == "folder" or filesystem.isdir(root):
            return RemotePlace(uri.rstrip("/"), filesystem, root)
        if not filesystem.isfile(root):
            raise DataError(f"{uri}: no such file or folder; expected images, .npz, Parquet or a video")
    parent, _, name = root.rpartition("/")
    return RemotePlace(uri.rstrip("/").rpartition("/")[0], filesystem, parent, name)


def _filesystem(uri: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError:
        raise ContractError(
            f"{uri}: addresses need fsspec, which is not installed; install it with {install('scale')}"
        ) from None
    try:
        filesystem, root = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise ContractError(
            f"{uri}: {printable(error)}; expected a path, or an address that fsspec knows, with its package installed "
            "(s3fs for s3://)"
        ) from error
    return filesystem, root


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Pass errors of an fsspec implementation, which share no class, on as a FileError."""
    try:
        yield
    except (FileError, DataError, ContractError):
        raise
    except Exception as error:
        problem = f"cannot be reached ({type(error).__name__}: {printable(error)}), expected an answer; check address "
        raise file_error(uri, problem + "and credentials", getattr(error, "errno", None) or errno.EIO) from error


def _entry(path: Path, name: str) -> Entry:
    with told(path, "cannot be read"):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: not a file but a FIFO, socket or device; remove it")
    _require_safe(name, str(path.parent))
    marks = f"{status.st_size}|{status.st_mtime_ns}"
    return Entry(name, status.st_size, hashlib.sha256(marks.encode()).hexdigest()[:8])


def _shown(name: str) -> bool:
    return not name.startswith((".", "_")) and name not in IGNORED


def _require_safe(name: str, where: str) -> None:
    """A name is written again below the output."""
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts) or {"\0", "\\", "\n", "\r"} & set(name):
        raise DataError(f"{where}: a file is called {name!a}, which could lead out of a folder; rename it")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{where}: a file is called {name!a}, which is no UTF-8; rename it") from None


def _raise_unless_absent(error: OSError) -> None:
    if error.errno != errno.ENOENT:
        raise file_error(error.filename, f"cannot be read ({error.strerror})", error.errno or errno.EIO) from error
