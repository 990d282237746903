"""TensorRT 8, whose wheels are for Python 3.10 at the latest: found, unpacked, and run by a Python of that kind."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

from tests.gpu_day.plan import ROOT
from tests.gpu_day.stage import Day, Skipped

PYTHON = "python3.10"
UNUSED = ("cv2", "onnxruntime")  # what the pipeline's modules import for the CPU's path alone


def run(day: Day) -> None:
    """What the worker found; Skipped where wheels, a Python for them or a GPU are absent."""
    folder = day.work / "tensorrt8"
    wheels = joined(folder)
    if not any(wheel.name.startswith("tensorrt-8") for wheel in wheels):
        raise Skipped(f"no wheel of TensorRT 8 in {folder}: `prepare --tensorrt8 FOLDER` brings it")
    own = folder / "python" / "bin" / PYTHON
    python = str(own) if own.is_file() else shutil.which(PYTHON)
    if python is None:
        raise Skipped(f"no {PYTHON} on the PATH, nor in {own}")
    if day.device != "cuda":
        raise Skipped("TensorRT needs a GPU")
    site = day.work / "site8"
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    command = [python, "-m", "tests.gpu_day.stages.tensorrt8", "--json", str(day.file)]
    command += ["--work", str(day.work), "--carried", str(day.carried), "--models", *day.models]
    path = os.pathsep.join((str(day.work / "site"), str(ROOT), str(site)))
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=True)


def joined(folder: Path) -> list[Path]:
    """The wheels of a folder; one that came in parts, `NAME.whl.0` and so on, is put together first."""
    for first in sorted(folder.glob("*.whl.0")):
        whole = first.with_suffix("")
        parts = sorted(folder.glob(f"{whole.name}.*"), key=lambda path: int(path.suffix[1:]))
        with whole.open("wb") as file:
            for part in parts:
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, file)
        if not zipfile.is_zipfile(whole):  # the last parts are still to come
            whole.unlink()
    return sorted(folder.glob("*.whl"))


def main() -> None:
    """In that other Python: PyTorch, OpenCV and ONNX Runtime take no part, and need not be there."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--json", "--work", "--carried"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--models", nargs="+", required=True)
    asked = parser.parse_args()
    for name in UNUSED:
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = mock.MagicMock()
    from tests.gpu_day.stages import tensorrt8_worker

    tensorrt8_worker.run(Day("cuda", tuple(asked.models), asked.carried, asked.work, asked.json))


if __name__ == "__main__":
    main()
