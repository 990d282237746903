"""The kernels' own sources compiled by g++ and executed on the CPU: tests and the emulated device run on this.

It is a proof, not a fast path: one fibre per CUDA thread, in a random order drawn from the seed, with barriers,
shuffles and shared memory checked at every use (device.hpp, scheduler.cpp).
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from puvae_rt.errors import BuildError, PuvaeError, TargetUnavailableError
from puvae_rt.files import atomic_file
from puvae_rt.kernels.launch import ENTRIES, Launch
from puvae_rt.user_cache import MAX_KERNEL_BYTES, cache_folder, evict, mark_used, warn_unwritable

log = logging.getLogger(__name__)

KERNELS = Path(__file__).parent.parent
SCHEDULER = Path(__file__).parent / "scheduler.cpp"
# Fortified longjmp refuses to enter another stack, which is how fibres are switched.
FLAGS = ("-std=c++17", "-O2", "-g", "-fPIC", "-shared", "-U_FORTIFY_SOURCE")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
# A process that loads a sanitised library must have the sanitiser's runtime preloaded: see `sanitizer_environment`.
SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
SANITIZE_VARIABLE = "PUVAE_SHIM_SANITIZE"
MESSAGE_BYTES = 1024
BUILD_SECONDS = 300


class KernelFaultError(PuvaeError):
    """A kernel that diverged at a barrier, misused shared memory, or was launched with a wrong geometry or argument."""


class Shim:
    """Kernels loaded from a shared library built by `build`. Launches from several threads are independent."""

    def __init__(self, library: Path) -> None:
        self._launch = ctypes.CDLL(str(library)).shim_launch

    def launch(
        self,
        entry: str,
        grid: Sequence[int],
        block: Sequence[int],
        shared_bytes: int,
        arguments: Sequence[Any],
        seed: int = 0,
    ) -> None:
        """Runs one kernel to its end on host memory.

        Args:
            entry: entry point, as `Launch.entry`.
            grid: blocks along x, y, z.
            block: threads along x, y, z.
            shared_bytes: dynamic shared memory; a byte past it faults.
            arguments: ctypes objects in the kernel's order (`SelectProjectionArgs.values()`).
            seed: of the order in which blocks and threads run; the result must not depend on it.
        Raises:
            KernelFaultError: what went wrong, with block, thread and source line.
        """
        count = len(arguments)
        pointers = (ctypes.c_void_p * count)(*(ctypes.addressof(a) for a in arguments))
        sizes = (ctypes.c_size_t * count)(*(ctypes.sizeof(a) for a in arguments))
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        failed = self._launch(
            entry.encode(),
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            shared_bytes,
            pointers,
            sizes,
            ctypes.c_size_t(count),
            ctypes.c_uint64(seed),
            message,
            ctypes.c_size_t(MESSAGE_BYTES),
        )
        if failed:
            raise KernelFaultError(f"{entry} (seed {seed}): {message.value.decode(errors='replace')}")

    def run(self, launch: Launch, arguments: Sequence[Any], seed: int = 0) -> None:
        """`launch` with a geometry from `puvae_rt.kernels`."""
        self.launch(*launch, arguments, seed)


@functools.cache
def load() -> Shim:
    """The package's kernels, built on first use into the user's cache; sanitised if PUVAE_SHIM_SANITIZE=1."""
    sources = {KERNELS / f"{name}.cu": entries for name, entries in ENTRIES.items()}
    return Shim(build(sources, sanitize=os.environ.get(SANITIZE_VARIABLE) == "1"))


def build(sources: Mapping[Path, Sequence[str]], sanitize: bool = False, cache: Path | None = None) -> Path:
    """Compiles kernel sources ({file: its entry points}) and the scheduler into one shared library.

    The library's name is a hash of all that goes into it, so that it is built once and never stale.

    Raises:
        TargetUnavailableError: no g++.
        BuildError: g++ refused the source; its output is in the message.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise TargetUnavailableError(
            "the kernels' host shim needs a C++17 compiler: g++ is not on the PATH; "
            "install it (Debian: apt install g++) or name another in CXX"
        )
    flags = (*FLAGS, *WARNINGS, *(SANITIZE if sanitize else ()))
    main = _main_source(sources)
    name = f"shim-{_key(compiler, flags, main, sources)}.so"
    if (folder := cache or cache_folder("kernels")) is not None:
        try:
            return _kept(compiler, flags, main, folder / name)
        except OSError as error:
            warn_unwritable("kernel", folder, error)
    return _kept(compiler, flags, main, _own_folder() / name)


def sanitizer_environment() -> dict[str, str]:
    """Variables for a subprocess that runs the sanitised shim: the runtime must come before any other library.

    Raises:
        TargetUnavailableError: the compiler comes without it.
    """
    compiler = os.environ.get("CXX", "g++")
    # libstdc++ as well: the sanitiser wraps its exceptions and must find it at start-up.
    libraries = [_printed(compiler, f"-print-file-name={name}") for name in ("libasan.so", "libstdc++.so")]
    if lacking := [library for library in libraries if not Path(library).is_absolute()]:  # g++ echoes what it lacks
        raise TargetUnavailableError(
            f"{compiler} has no {' and no '.join(lacking)}, which the sanitised shim needs; install GCC's own "
            "(Debian: apt install g++ libasan8, or the libasan of your g++'s version)"
        )
    return {
        SANITIZE_VARIABLE: "1",
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",  # leaks would be CPython's
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _main_source(sources: Mapping[Path, Sequence[str]]) -> str:
    includes = "".join(f'#include "{path}"\n' for path in sources)
    names = [name for entries in sources.values() for name in entries]
    table = "".join(f"    SHIM_ENTRY({name}),\n" for name in names)
    return (
        f'{includes}#include "{SCHEDULER.with_suffix(".hpp")}"\n'
        f"const shim::Entry shim::entries[] = {{\n{table}}};\n"
        f"const std::size_t shim::entry_count = {len(names)};\n"
    )


def _key(compiler: str, flags: Sequence[str], main: str, sources: Mapping[Path, Sequence[str]]) -> str:
    digest = hashlib.sha256("\0".join((_printed(compiler, "--version"), *flags, main)).encode())
    headers = (KERNELS / "device.cuh", *sorted(SCHEDULER.parent.glob("*.[hc]pp")))
    for path in (*sources, *headers):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _printed(compiler: str, option: str) -> str:
    return subprocess.run([compiler, option], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@functools.cache
def _own_folder() -> Path:
    """Of this process, where no cache can be written; it goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="puvae-shim-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _kept(compiler: str, flags: Sequence[str], main: str, library: Path) -> Path:
    if not library.is_file():
        _compile(compiler, flags, main, library)
        evict(library.parent, MAX_KERNEL_BYTES, "shim-*")
    mark_used(library)
    return library


def _compile(compiler: str, flags: Sequence[str], main: str, library: Path) -> None:
    with atomic_file(library) as output:
        source = output.with_name("main.cpp")
        source.write_text(main)
        command = [compiler, *flags, f"-I{KERNELS}", str(source), str(SCHEDULER), "-o", str(output)]
        log.info("building the kernels' host shim: %s", library.name)
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
        if done.returncode:
            raise BuildError(f"the host shim did not compile with {compiler}; mend the source:\n{done.stderr}")
