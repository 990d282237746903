"""README and docs run: `console` blocks are executed as they stand, `python` blocks, too, `sh` blocks on tiny data.

Blocks of a page share a folder and run in their order, as a reader would run them.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark import ParameterSet

from puvae_rt.data import DATA_VARIABLE, KNOWN

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TIMEOUT = 900  # seconds for one command, on a machine that is busy with a training
RUN = ("puvae", "python")
# What is not run, and why. The rest of a page's `sh` lines is.
NOT_RUN = {
    "pip install": "the machine has the package",
    "python -m venv": "the machine has the package",
    "make ": "what runs this test",
    "cmake ": "tests/kernels/test_binary.py builds with it",
    "apt-get ": "tests run on what the machine has",
    "pytest ": "what runs this test",
}
# Trainings and measurements of hours, made small: the same path on a few images.
SMALL = {
    "train": ["--epochs", "1", "--classifier-epochs", "1", "--train-images", "40", "--replays", "1"],
    "low-rank": ["--epochs", "1", "--validation-images", "20"],
    "search": ["--epochs", "1", "--train-images", "40", "--results", "small"],
    "train-prior": ["--epochs", "1", "--mini-batch", "10"],
    "train-baselines": ["--epochs", "1"],
    "evaluate": ["--images", "4", "--results", "small"],
}
GPU_ONLY = ("--device gpu", "bench --bundle out/mnist-rtx-fp16")
LONG = ("docs/howto/evaluate.md", "docs/howto/gpu.md", "docs/howto/train.md")  # minutes each


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of each fenced block."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """Lines that start with `$ `, continued lines joined, comments cut off."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line[2:].partition("  #")[0].strip() for line in lines if line.startswith("$ ")]


def steps(page: Path) -> list[tuple[str, str]]:
    """What is run of a page, in its order: ("console" | "sh", command) or ("python", code)."""
    found: list[tuple[str, str]] = []
    for language, block in blocks(page):
        if language == "python":
            found.append((language, block))
        elif language in ("console", "sh"):
            found += [(language, command) for command in commands(block)]
    return found


def excused(command: str) -> bool:
    return command.startswith(tuple(NOT_RUN)) or any(part in command for part in GPU_ONLY)


def arguments(language: str, command: str) -> list[str]:
    """The program with its arguments; what takes hours is made small."""
    words = shlex.split(command)
    assert words[0] in RUN, f"{command!r}: only {' and '.join(RUN)} are run; name it in NOT_RUN with a reason"
    words = [sys.executable, "-m", "puvae_rt", *words[1:]] if words[0] == "puvae" else [sys.executable, *words[1:]]
    if language == "sh" and words[3] in SMALL and "--tables" not in words:
        words += SMALL[words[3]]
    return words


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets under every name that the pages use, a few images each."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for name, shape, classes in (
        ("mnist", (28, 28), 10),
        ("fashion_mnist", (28, 28), 10),
        ("cifar10", (32, 32, 3), 10),
        ("traffic_signs", (32, 32, 3), 43),
    ):
        parts = {}
        for split, count in (("train", 5 * classes), ("test", 2 * classes)):
            labels = np.arange(count) % classes
            images = random.integers(0, 60, (count, *shape), np.uint8)
            images[np.arange(count), labels % 28] = 255  # a line at the class's height
            parts |= {f"x_{split}": images, f"y_{split}": labels}
        np.savez_compressed(folder / KNOWN[name].file, **parts)
    return folder


def runnable() -> list[ParameterSet]:
    """The pages with something to run, by name; the long ones marked."""
    names = [(page, str(page.relative_to(ROOT))) for page in PAGES if steps(page)]
    return [pytest.param(p, id=name, marks=pytest.mark.long if name in LONG else pytest.mark.slow) for p, name in names]


@pytest.mark.parametrize("page", runnable())
def test_page_runs(page: Path, tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("baselines"))
    (tmp_path / "results" / "baselines").symlink_to(ROOT / "results" / "baselines")  # 8 MB, which no page writes to
    (tmp_path / "mine.npz").symlink_to(tiny_data / "mnist.npz")
    (tmp_path / "gtsrb.npz").symlink_to(tiny_data / KNOWN["traffic_signs"].file)
    (tmp_path / "mine.onnx").symlink_to(ROOT / "puvae_rt" / "assets" / "mnist" / "classifier_b.onnx")
    environment = {
        **os.environ,
        "PUVAE_CACHE": str(tmp_path / "cache"),
        DATA_VARIABLE: str(tiny_data),
        "PYTHONPATH": str(ROOT),
    }
    for language, text in steps(page):
        if language == "python":
            command = [sys.executable, "-c", text]
        elif excused(text):
            continue
        else:
            command = arguments(language, text)
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_there_is_something_to_run() -> None:
    assert sum(len(steps(page)) for page in PAGES) >= 30
    assert {language for page in PAGES for language, _ in steps(page)} == {"console", "sh", "python"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_tables_are_those_of_the_results(page: Path) -> None:
    for path, table in re.findall(r"<!-- table: (\S+) -->\n(.*?)\n<!-- end -->", text_of(page), flags=re.DOTALL):
        assert table.strip() == (ROOT / path).read_text("utf-8").strip(), f"{page.name} differs from {path}"


def test_readme_shows_tables_of_the_results() -> None:
    assert text_of(ROOT / "README.md").count("<!-- table: ") == 3


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pictures_and_links_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text_of(page)):
        assert (page.parent / target).exists(), f"{page.name} points to {target}, which is not there"


def test_files_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:puvae_rt|export|calib|demos|tests|results)/[\w./]+?\.(?:py|md|json|png))`", text_of(page)
        ):
            assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"
