"""The shared library itself: what it exports and needs, a C program on it, and the sanitizers' judgement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from puvae_rt.native import library
from puvae_rt.native.binding import _SIGNATURES, Instructions
from puvae_rt.native.engine_file import engine_file
from puvae_rt.version import __version__
from tests.native.models import CASES

DRIVER = Path(__file__).parent / "driver.c"
MISUSE = Path(__file__).parent / "misuse.c"
WRAPPER = Path(__file__).parent / "wrapper.cpp"
MODELS = [case for case in CASES if case.name in ("as_shipped", "signs")]


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def run(command: list[str], **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def driver(folder: Path, shared: Path, *flags: str, source: Path = DRIVER) -> str:
    """A program in C on the library."""
    program, include = folder / source.stem, library.SOURCES / "include"
    strict = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    run([tool("cc"), *strict, *flags, f"-I{include}", str(source), str(shared), "-lpthread", "-o", str(program)])
    return str(program)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("engines")
    paths = [folder / f"{case.name}.puvae" for case in MODELS]
    for path, case in zip(paths, MODELS, strict=True):
        path.write_bytes(engine_file(case.weights()))
    return paths


def test_exports_the_interface_and_nothing_else(library_file: Path) -> None:
    listed = run([tool("nm"), "-D", "--defined-only", str(library_file)]).splitlines()
    got = sorted(line.split()[2].split("@")[0] for line in listed if line.split()[1] != "A")
    assert got == (library.SOURCES / "exported_symbols.txt").read_text().split()
    assert got == sorted(_SIGNATURES)


def test_needs_nothing_but_libc_and_libm(library_file: Path) -> None:
    listed = run([tool("readelf"), "-d", str(library_file)])
    needed = {line.split("[")[1].split("]")[0] for line in listed.splitlines() if "(NEEDED)" in line}
    assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def test_tells_its_version(libpuvae: library.Library) -> None:
    assert libpuvae.version == __version__


@pytest.mark.parametrize("std", ("-std=c99", "-std=c11"))
def test_the_header_is_plain_c(tmp_path: Path, std: str) -> None:
    source = tmp_path / "header.c"
    source.write_text('#include "puvae.h"\nint main(void) { return puvae_version() == 0; }\n')
    include = f"-I{library.SOURCES / 'include'}"
    run([tool("cc"), std, "-Wall", "-Wextra", "-Wpedantic", "-Werror", include, "-fsyntax-only", str(source)])


def test_the_wrapper_in_cpp(library_file: Path, files: list[Path], tmp_path: Path) -> None:
    program, include = tmp_path / "wrapper", f"-I{library.SOURCES / 'include'}"
    strict = [tool("c++"), "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", include, str(WRAPPER)]
    run([*strict, "-std=c++20", "-fsyntax-only"])
    run([*strict, "-std=c++17", "-fsanitize=address,undefined", str(library_file), "-o", str(program)])
    assert run([str(program), str(files[0])]) == "ok\n"


@pytest.mark.parametrize("instructions", (Instructions.AUTO, Instructions.SCALAR), ids=lambda i: i.name)
def test_allocates_nothing_once_open(
    library_file: Path, files: list[Path], tmp_path: Path, instructions: Instructions
) -> None:
    program = driver(tmp_path, library_file)
    for path in files:
        frames = "2" if instructions == Instructions.SCALAR else "20"
        told = json.loads(run([program, str(path), str(int(instructions)), frames]))
        assert told["allocated"] == 0
        assert told["counted"] > 10  # the counter works: opening takes memory


def test_a_busy_context_says_so(library_file: Path, files: list[Path], tmp_path: Path) -> None:
    told = json.loads(run([driver(tmp_path, library_file), str(files[0]), "0", "200"]))
    assert told["busy"] > 0


def test_without_memory_and_closed_under_a_call(library_file: Path, files: list[Path], tmp_path: Path) -> None:
    small = tmp_path / "small.puvae"  # each of its allocations is one more try to open it
    small.write_bytes(engine_file(CASES[0].weights()))
    told = json.loads(run([driver(tmp_path, library_file, source=MISUSE), str(small)]))
    assert told["refused"] > 10


SANITIZERS = {
    "address,undefined": {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"},
    "thread": {"TSAN_OPTIONS": "halt_on_error=1"},
}


@pytest.mark.long
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("instructions", Instructions, ids=lambda i: i.name)
def test_sanitizers(files: list[Path], tmp_path: Path, sanitizer: str, instructions: Instructions) -> None:
    flags = (f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-g", "-O1", "-DPUVAE_WIDE_WITHOUT_AVX512")
    shared = library.build(flags=flags)
    program = driver(tmp_path, shared, "-DWITHOUT_COUNTING", *flags[:3])
    frames = "1" if instructions == Instructions.SCALAR else "4"
    for path in files:
        run([program, str(path), str(int(instructions)), frames], **SANITIZERS[sanitizer])
