"""The library as CMake builds and installs it, and the examples on it after its prefix was moved."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.native import library
from puvae_rt.native.binding import Library, NativeModel
from puvae_rt.native.engine_file import engine_file
from puvae_rt.version import __version__
from tests.native.models import CASES
from tests.once import once

ROOT = library.SOURCES.parent
EXAMPLES = ROOT / "examples"
WITHOUT_CUDA = "-DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
MOVED = Path("elsewhere", "puvae")
WIDTH, HEIGHT = 50, 40


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def run(*command: str | Path, stdin: bytes = b"", expected: int = 0, **environment: str) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, env=os.environ | environment, timeout=900)
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == expected, told
    return told


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, in another place than the one that it was made for; no CUDA is looked for."""
    return once(tmp_path_factory, "cmake", _install) / MOVED


def _install(folder: Path) -> None:
    build, prefix, moved = folder / "build", folder / "prefix", folder / MOVED
    cmake = tool("cmake")
    told = run(cmake, "-S", ROOT, "-B", build, f"-DCMAKE_INSTALL_PREFIX={prefix}", WITHOUT_CUDA)
    assert "No CUDA toolkit: libpuvae alone" in told
    run(cmake, "--build", build, "--parallel", str(os.cpu_count() or 1))
    run(cmake, "--install", build)
    run(tool("cpack"), "--config", build / "CPackConfig.cmake", "-B", folder / "packed")
    moved.parent.mkdir()
    prefix.rename(moved)
    shutil.rmtree(build)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine") / "engine.puvae"
    path.write_bytes(engine_file(CASES[0].weights()))
    return path


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(libpuvae: Library, engine: Path, frame: np.ndarray) -> str:
    """What both examples print of the frame."""
    model = NativeModel(libpuvae, engine)
    outcome = model.context().run(frame, (0, 0, WIDTH, HEIGHT))
    return f"{model.class_names[outcome.label]} {np.nanmin(outcome.rmse):.4f}"


def example(name: str, moved: Path, folder: Path) -> Path:
    """The folder of an example, built by find_package with every warning an error."""
    cmake, strict = tool("cmake"), " ".join(STRICT)
    flags = (f"-DCMAKE_PREFIX_PATH={moved}", f"-DCMAKE_C_FLAGS={strict}", f"-DCMAKE_CXX_FLAGS={strict}")
    run(cmake, "-S", EXAMPLES / name, "-B", folder, *flags)
    run(cmake, "--build", folder)
    return folder


@pytest.mark.slow
def test_the_example_in_c(moved: Path, engine: Path, frame: np.ndarray, expected: str, tmp_path: Path) -> None:
    program = example("c", moved, tmp_path) / "purify"
    assert run(program, engine, f"{WIDTH}x{HEIGHT}", stdin=frame.tobytes()) == f"{expected}\n"
    assert "shorter frame" in run(program, engine, f"{WIDTH}x{HEIGHT}", stdin=b"short", expected=1)
    assert "expected" in run(program, tmp_path / "absent", f"{WIDTH}x{HEIGHT}", expected=1)
    assert __version__ in run(program, expected=2)


@pytest.mark.slow
def test_the_example_in_cpp(moved: Path, engine: Path, frame: np.ndarray, expected: str, tmp_path: Path) -> None:
    program = example("cpp", moved, tmp_path) / "perception"
    sides, frames = (str(WIDTH), str(HEIGHT)), frame.tobytes() * 3
    told = run(program, engine, *sides, "600000000", stdin=frames)
    assert told.splitlines() == [expected] * 3 + ["3 frames, 0 late, 0 degraded"]
    late = run(program, engine, *sides, "0", stdin=frames).splitlines()
    assert [line.split()[0] for line in late[:3]] == ["unknown"] * 3
    assert late[3] == "3 frames, 3 late, 0 degraded"
    assert "expected" in run(program, tmp_path / "absent", *sides, "1", expected=1)


@pytest.mark.slow
def test_pkg_config(moved: Path, engine: Path, frame: np.ndarray, expected: str, tmp_path: Path) -> None:
    config = next(moved.rglob("puvae.pc"))
    path = {"PKG_CONFIG_PATH": str(config.parent)}
    assert run(tool("pkg-config"), "--modversion", "puvae", **path).strip() == __version__
    flags = run(tool("pkg-config"), "--cflags", "--libs", "puvae", **path).split()
    program, libraries = tmp_path / "purify", str(config.parent.parent)
    run(tool("cc"), EXAMPLES / "c" / "purify.c", *STRICT, *flags, "-o", program)
    told = run(program, engine, f"{WIDTH}x{HEIGHT}", stdin=frame.tobytes(), LD_LIBRARY_PATH=libraries)
    assert told == f"{expected}\n"


@pytest.mark.slow
def test_another_version_is_not_found(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(user LANGUAGES CXX)\nfind_package(puvae 99.0 REQUIRED)\n"
    )
    told = run(tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}", expected=1)
    assert f"version: {__version__}" in told


@pytest.mark.slow
def test_the_package_holds_what_is_installed(moved: Path) -> None:
    (archive,) = (moved.parent.parent / "packed").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    installed = {str(path.relative_to(moved)) for path in moved.rglob("*") if not path.is_dir()}
    assert installed <= names
    assert {"include/puvae.h", "include/puvae.hpp"} <= installed


def test_presets_are_known_to_cmake() -> None:
    told = run(tool("cmake"), "--list-presets=all", "-S", ROOT)
    presets = json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]
    assert all(f'"{preset["name"]}"' in told for preset in presets)


@pytest.mark.long
def test_ctest(tmp_path: Path) -> None:
    cmake = tool("cmake")
    run(cmake, "--preset", "tests", "-B", tmp_path, "-S", ROOT)
    run(cmake, "--build", tmp_path, "--parallel", str(os.cpu_count() or 1))
    told = run(tool("ctest"), "--test-dir", tmp_path, "--no-tests=error", PYTHONPATH=str(ROOT))
    assert "100% tests passed" in told
