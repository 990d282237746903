"""Where libpuvae comes from: named in PUVAE_LIBRARY, shipped in a wheel, or compiled from the checkout's native/.

A checkout's library is built on first use into the user's cache. Its name is a hash of all that goes into it, so that
it is built once and never stale.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from puvae_rt.errors import BuildError, TargetUnavailableError
from puvae_rt.files import atomic_file, locked
from puvae_rt.native.binding import Library
from puvae_rt.native.compiling import BUILD_SECONDS, compile_library
from puvae_rt.user_cache import MAX_KERNEL_BYTES, cache_folder, evict, mark_used, warn_unwritable
from puvae_rt.version import __version__

log = logging.getLogger(__name__)

VARIABLE = "PUVAE_LIBRARY"
NAME = "libpuvae.so"
SHIPPED = Path(__file__).parent / NAME
SOURCES = Path(__file__).resolve().parent.parent.parent / "native"


@functools.cache
def load() -> Library:
    """libpuvae, built if need be.

    Raises:
        TargetUnavailableError: there is none, and no compiler or source to build it with.
        BuildError: the compiler refused the source; its output is in the message.
    """
    if named := os.environ.get(VARIABLE):
        return Library(Path(named))
    return Library(SHIPPED if SHIPPED.is_file() else build())


def origin() -> str:
    """Where `load` takes the library from, in words; nothing is built. TargetUnavailableError as `load`."""
    if named := os.environ.get(VARIABLE):
        return f"{named} ({VARIABLE})"
    return f"{SHIPPED}" if SHIPPED.is_file() else f"{SOURCES}, compiled by {_compiler()} on first use"


def build(cache: Path | None = None, flags: Sequence[str] = ()) -> Path:
    """The shared library of the checkout's sources, compiled unless it lies in the cache already.

    Args:
        cache: folder to keep it in; None is the user's.
        flags: more flags of the compiler and the linker.
    Raises:
        TargetUnavailableError, BuildError: as `load`.
    """
    compiler = _compiler()
    name = f"libpuvae-{_key(compiler, flags)}.so"
    if (folder := cache or cache_folder("native")) is not None:
        try:
            return _kept(compiler, flags, folder / name)
        except OSError as error:
            warn_unwritable("library", folder, error)
    return _kept(compiler, flags, _own_folder() / name)


def _compiler() -> str:
    if not (SOURCES / "include" / "puvae.h").is_file():
        raise TargetUnavailableError(
            f"libpuvae: neither {SHIPPED} nor its sources in {SOURCES} are there; install a wheel that has it, or "
            f"name a built library in {VARIABLE}"
        )
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise TargetUnavailableError(
            "libpuvae needs a C++17 compiler: c++ is not on the PATH; install it (Debian: apt install g++), or name "
            f"another one in CXX, or a built library in {VARIABLE}"
        )
    return compiler


def _kept(compiler: str, flags: Sequence[str], library: Path) -> Path:
    if not library.is_file():
        with locked(library, BUILD_SECONDS):
            if not library.is_file():  # else another process was faster
                log.info("building %s", library)
                with atomic_file(library) as output:
                    _compile(output, compiler, flags)
        evict(library.parent, MAX_KERNEL_BYTES, "libpuvae-*")
    mark_used(library)
    return library


def _compile(output: Path, compiler: str, flags: Sequence[str]) -> None:
    try:
        compile_library(SOURCES, output, compiler, __version__, flags)
    except RuntimeError as error:
        raise BuildError(str(error)) from error


def _key(compiler: str, flags: Sequence[str]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    digest = hashlib.sha256("\0".join((version, __version__, *flags)).encode())
    texts = [SOURCES / "compile_flags.txt", SOURCES / "libpuvae.map", *(SOURCES / "include").glob("*")]
    for path in sorted([*texts, *(SOURCES / "src").glob("*")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


@functools.cache
def _own_folder() -> Path:
    """Of this process, where no cache can be written; it goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="puvae-library-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
