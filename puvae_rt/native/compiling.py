"""How libpuvae is compiled without CMake: in a checkout on first use, and into a wheel. The standard library alone."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BUILD_SECONDS = 600
# Only libc and libm are left to be found on the user's machine.
LINK = ("-shared", "-static-libgcc", "-static-libstdc++")


def compile_library(native: Path, output: Path, compiler: str, version: str, flags: Sequence[str] = ()) -> None:
    """Compiles the library into a file.

    Args:
        native: the folder of its sources.
        output: the shared library.
        compiler: a C++17 compiler's program.
        version: what the library calls itself.
        flags: more flags of the compiler and the linker.
    Raises:
        RuntimeError: the compiler refused; its output is in the message.
    """
    common = [f'-DPUVAE_VERSION="{version}"', *(native / "compile_flags.txt").read_text("utf-8").split(), *flags]
    with tempfile.TemporaryDirectory(prefix="puvae-native-") as scratch:
        objects = {source: Path(scratch) / f"{source.stem}.o" for source in sorted((native / "src").glob("*.cpp"))}
        commands = [[compiler, *common, "-c", str(source), "-o", str(to)] for source, to in objects.items()]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(lambda command: _run(command, native), commands))
        script = f"-Wl,--version-script={native / 'libpuvae.map'}"
        _run([compiler, *LINK, *flags, script, "-o", str(output), *map(str, objects.values())], native)


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"libpuvae did not compile with {command[0]}; mend the source:\n{done.stderr}")
