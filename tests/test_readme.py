"""The README runs: `console` blocks are executed, other commands must parse, tables are those under results/."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
TIMEOUT = 300  # seconds for one command


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(language: str) -> list[str]:
    """Lines that start with `$ `, continued lines joined."""
    text = "\n".join(blocks(language)).replace("\\\n", " ")
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all commands, in order: later ones use what earlier ones wrote."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("demos", "results"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", commands("console"))
def test_command_runs(command: str, workplace: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "python", f"{command!r}: only python commands are executed here"
    environment = {**os.environ, "PUVAE_CACHE": str(workplace / "cache"), "PYTHONPATH": str(workplace)}
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=workplace, env=environment, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_there_are_commands_to_run() -> None:
    assert len(commands("console")) >= 5


@pytest.mark.parametrize("block", blocks("python"))
def test_python_example_runs(block: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [c for c in commands("sh") if c.startswith("python -m ")])
def test_long_commands_have_the_options_they_are_shown_with(command: str) -> None:
    """Trainings and evaluations of hours are not run, but every option exists."""
    words = shlex.split(command, comments=True)
    help_text = subprocess.run(
        [sys.executable, *words[1:3], "--help"], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=True
    ).stdout
    for option in (word for word in words[3:] if word.startswith("--")):
        assert option in help_text, f"{option} is not an option of {words[2]}"


def test_tables_are_those_of_the_results() -> None:
    shown = re.findall(r"<!-- table: (\S+) -->\n(.*?)\n<!-- end -->", README, flags=re.DOTALL)
    assert shown, "the README shows no table of results/"
    for path, table in shown:
        assert table.strip() == (ROOT / path).read_text("utf-8").strip(), f"README differs from {path}"


def test_pictures_and_links_exist() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), f"README points to {target}, which is not there"
