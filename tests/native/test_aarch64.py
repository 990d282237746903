"""libpuvae for AArch64 (NEON), made by Debian's cross compiler and run by qemu-user: its numbers, never its speed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.native import library
from puvae_rt.native.binding import Instructions
from puvae_rt.native.compiling import compile_library
from puvae_rt.native.engine_file import engine_file
from puvae_rt.version import __version__
from tests.native.models import CASES, Answer, Case, by_onnx, random_images
from tests.native.test_numbers import assert_alike
from tests.once import once

TRIPLE = "aarch64-linux-gnu"
IMAGES = 2
CHEAP = ("thin", "color_odd")  # in `make test`; the others take an emulated processor minutes


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (Debian, Ubuntu: apt-get install {package})")
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """numbers.c and the library for AArch64."""
    compiler, cc = (tool(f"{TRIPLE}-{name}", f"g++-{TRIPLE}") for name in ("g++", "gcc"))

    def make(folder: Path) -> None:
        shared = folder / "libpuvae.so"
        compile_library(library.SOURCES, shared, compiler, __version__, ("-O1", "-Werror"))
        source, include = Path(__file__).parent / "numbers.c", f"-I{library.SOURCES / 'include'}"
        strict = ("-std=c11", "-Wall", "-Wextra", "-Werror")
        subprocess.run([cc, *strict, include, source, shared, "-o", folder / "numbers"], check=True, timeout=300)

    return once(tmp_path_factory, "aarch64", make) / "numbers"


def answer(program: Path, case: Case, images: np.ndarray, engine: Path) -> Answer:
    """What the emulated processor gives."""
    engine.write_bytes(engine_file(case.weights()))
    qemu = tool("qemu-aarch64", "qemu-user")
    command = [qemu, "-L", f"/usr/{TRIPLE}", program, engine, str(int(Instructions.PORTABLE))]
    done = subprocess.run(command, input=images.tobytes(), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    rows = np.frombuffer(done.stdout, np.float32).reshape(len(images), -1)
    pixels, k = images[0].size, case.classes
    projected, purified, rmse, score = np.split(rows, (1, 1 + pixels, 1 + pixels + k), axis=1)
    return Answer(purified.reshape(images.shape), projected[:, 0].astype(np.int64), rmse, score)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=() if c.name in CHEAP else pytest.mark.long) for c in CASES]
)
def test_neon_agrees_with_onnx_runtime(program: Path, case: Case, tmp_path: Path) -> None:
    images = random_images(case.contract, IMAGES)
    assert_alike(answer(program, case, images, tmp_path / "engine.puvae"), by_onnx(case.weights(), images))
