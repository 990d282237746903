"""The runtime install: nothing but its own requirements, no PyTorch, within its promises of time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FIRST_RESULT_SECONDS = 1.0
RESIDENT_MB = 250

SCRIPT = """
import time
start = time.perf_counter()
import sys, json, importlib.util
from puvae_rt import Purifier
import numpy as np
with Purifier.load("mnist") as purifier:
    purified = purifier.purify(np.zeros((1, 28, 28), np.uint8))
    seconds = time.perf_counter() - start
    from puvae_rt.runtime.machine import rss_mb
    print(json.dumps({
        "seconds": seconds, "rss_mb": rss_mb(), "shape": purified.images.shape,
        "torch": importlib.util.find_spec("torch") is not None,
        "modules": [m for m in ("torch", "matplotlib", "tensorrt", "tensorrt_rtx") if m in sys.modules],
    }))
"""


def requirements(name: str, seen: set[str]) -> set[str]:
    """The distributions that `name` needs without extras, itself included."""
    if name in seen:
        return seen
    seen.add(name)
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            requirements(requirement.name, seen)
    return seen


def link(package: Distribution, site: Path) -> None:
    """Every top-level entry of an installed distribution into another site-packages."""
    home = Path(sysconfig.get_paths()["purelib"])
    tops = {Path(str(file)).parts[0] for file in package.files or ()}
    for top in tops - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(home / top)


@pytest.fixture(scope="module")
def runtime_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a venv with the runtime's requirements and nothing else."""
    folder = tmp_path_factory.mktemp("runtime") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in requirements("puvae-rt", set()) - {"puvae-rt"}:
        link(distribution(name), site)
    (site / "puvae_rt.pth").write_text(f"{ROOT}\n")
    return folder / "bin" / "python"


def run(python: Path, cache: Path) -> dict[str, object]:
    environment = {**os.environ, "PUVAE_CACHE": str(cache)}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-c", SCRIPT], env=environment, cwd=cache, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_runtime_works_without_torch(runtime_python: Path, tmp_path: Path) -> None:
    report = run(runtime_python, tmp_path)
    assert report["torch"] is False and report["modules"] == []
    assert report["shape"] == [1, 1, 28, 28]


def test_first_result_and_memory_keep_their_promises(runtime_python: Path, tmp_path: Path) -> None:
    """The best of three starts: the promise is about the program, not about what else the machine does."""
    reports = [run(runtime_python, tmp_path) for _ in range(3)]
    assert min(float(str(report["seconds"])) for report in reports) < FIRST_RESULT_SECONDS
    assert max(float(str(report["rss_mb"])) for report in reports) < RESIDENT_MB


def test_training_says_what_to_install(runtime_python: Path) -> None:
    command = [runtime_python, "-m", "puvae_rt.train"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode != 0
    assert "'.[train]'" in done.stderr and "Traceback" not in done.stderr
