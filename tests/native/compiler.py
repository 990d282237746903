"""A C++ compiler for the tests, which compiles each file of libpuvae once in a run: python compiler.py CXX FOLDER ...

The library is built several ways in a run (from the checkout, by CMake, into a wheel, for AVX-512 without it), by
several processes. Objects are kept in FOLDER under a digest of the sources and of the flags that change them. All else
goes to the compiler CXX as it is. The standard library alone: nothing is installed where a wheel is built.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

# What differs between the builds and changes no object. -Werror is always given, and the sources have no assert.
IDLE = ("-c", "-MD", "-Werror", "-DNDEBUG", "-Dpuvae_EXPORTS", "-fno-diagnostics-color")
WITH_FILE = ("-o", "-MT", "-MF")


def main(compiler: str, folder: Path, arguments: list[str]) -> int:
    """The compiler's exit code."""
    source = next((Path(a) for a in arguments if a.endswith(".cpp") and "-c" in arguments), None)
    if source is None or not (source.parent.parent / "include" / "puvae.h").is_file():
        return subprocess.call([compiler, *arguments])
    files = {flag: Path(arguments[arguments.index(flag) + 1]) for flag in WITH_FILE if flag in arguments}
    kept = folder / f"{source.stem}-{key(source, significant(source, arguments))}.o"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            if code := subprocess.call([compiler, *arguments, "-Werror"]):
                return code
            partial = kept.with_suffix(".partial")
            shutil.copyfile(files["-o"], partial)
            partial.rename(kept)
            return 0
    shutil.copyfile(kept, files["-o"])
    if "-MF" in files:  # make's list of headers, which a build that runs once does not need
        files["-MF"].touch()
    return 0


def significant(source: Path, arguments: list[str]) -> list[str]:
    """The flags that change the object, in one order."""
    kept, text, skip = set(), source.read_text("utf-8"), False
    for argument in arguments:
        name = argument.removeprefix("-D").partition("=")[0]
        unused = (
            argument.startswith("-D") and name not in text
        )  # a macro is read by the file that names it, or a header
        if not (skip or argument in (*IDLE, *WITH_FILE, str(source)) or argument.startswith("-I") or unused):
            kept.add(argument)
        skip = argument in WITH_FILE
    return sorted(kept)


def key(source: Path, flags: list[str]) -> str:
    """The digest of a source, of everything that it may include, and of flags."""
    digest = hashlib.sha256("\0".join(flags).encode() + source.read_bytes())
    for path in included(source):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


def included(source: Path) -> list[Path]:
    """Every file that a source may include."""
    return [path for path in sorted(source.parent.parent.glob("*/*")) if path.suffix in (".hpp", ".inl", ".h")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(os.fspath(sys.argv[2])), sys.argv[3:]))
