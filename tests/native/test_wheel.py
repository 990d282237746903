"""The wheel: it brings the library, and needs no compiler where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from puvae_rt.native import library
from tests.once import once

ROOT = library.SOURCES.parent
SCRIPT = """
import logging, sys
import numpy as np
from puvae_rt import Purifier
from puvae_rt.native import library
assert library.SHIPPED.is_file() and not library.SOURCES.exists(), library.SHIPPED
with Purifier.load("mnist", target="native") as purifier:
    result = purifier(np.zeros((40, 40, 3), np.uint8))
    print(type(purifier._engine).__name__, result.label)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy of what Git knows and does not ignore: a build leaves folders behind."""
    if shutil.which("c++") is None:
        pytest.skip("needs c++")
    pytest.importorskip("setuptools")
    (built,) = once(tmp_path_factory, "wheel", _build).glob("*.whl")
    return built


def _build(out: Path) -> None:
    source = out / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("needs a checkout")
    for name in listed.stdout.splitlines():
        if not name.startswith(("results/", "tests/", "docs/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source]
    done = subprocess.run(build, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_it_is_for_every_python_of_one_platform(wheel: Path) -> None:
    assert wheel.name.split("-")[2:4] == ["py3", "none"]
    assert "linux" in wheel.name.split("-")[4]
    names = zipfile.ZipFile(wheel).namelist()
    assert "puvae_rt/native/libpuvae.so" in names
    assert not [name for name in names if name.startswith(("native/", "tests/"))]


@pytest.mark.slow
def test_it_purifies_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "CXX": "none", "PUVAE_CACHE": str(tmp_path)}
    environment.pop(library.VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "NativeEngine", done.stderr
