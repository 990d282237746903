"""The library as CMake builds and installs it, used from C and C++ after its prefix was moved."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from puvae_rt.native import library
from puvae_rt.version import __version__

ROOT = library.SOURCES.parent
PROGRAM = "#include <puvae.h>\n#include <stdio.h>\nint main(void) { puts(puvae_version()); return 0; }\n"
PROJECT = """
cmake_minimum_required(VERSION 3.18)
project(user LANGUAGES C CXX)
find_package(puvae VERSION REQUIRED)
add_executable(in_c user.c)
add_executable(in_cpp user.cpp)
target_link_libraries(in_c puvae::puvae)
target_link_libraries(in_cpp puvae::puvae)
"""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, in another place than the one that it was made for; no CUDA is looked for."""
    folder = tmp_path_factory.mktemp("cmake")
    build, prefix, moved = folder / "build", folder / "prefix", folder / "elsewhere" / "puvae"
    cmake = tool("cmake")
    run(
        cmake,
        "-S",
        ROOT,
        "-B",
        build,
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
        "-DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON",
    )
    run(cmake, "--build", build, "--parallel", str(os.cpu_count() or 1))
    run(cmake, "--install", build)
    moved.parent.mkdir()
    prefix.rename(moved)
    shutil.rmtree(build)
    return moved


@pytest.mark.slow
def test_find_package_from_c_and_cpp(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(PROJECT.replace("VERSION REQUIRED", f"{__version__} REQUIRED"))
    for name in ("user.c", "user.cpp"):
        (tmp_path / name).write_text(PROGRAM)
    cmake, build = tool("cmake"), tmp_path / "build"
    run(cmake, "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={moved}")
    run(cmake, "--build", build)
    for program in ("in_c", "in_cpp"):
        assert run(build / program).strip() == __version__


@pytest.mark.slow
def test_pkg_config(moved: Path, tmp_path: Path) -> None:
    config = next(moved.rglob("puvae.pc"))
    path = {"PKG_CONFIG_PATH": str(config.parent)}
    assert run(tool("pkg-config"), "--modversion", "puvae", **path).strip() == __version__
    flags = run(tool("pkg-config"), "--cflags", "--libs", "puvae", **path).split()
    source, program = tmp_path / "user.c", tmp_path / "user"
    source.write_text(PROGRAM)
    run(tool("cc"), source, *flags, "-o", program)
    assert run(program, LD_LIBRARY_PATH=str(config.parent.parent)).strip() == __version__
