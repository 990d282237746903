"""The CI recipe for owners of a GPU, .github/workflows/gpu.yml: nobody here runs it, so its commands are checked."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / ".github/workflows/gpu.yml").read_text()
COMMANDS = re.findall(r"-m ((?:puvae_rt|export)\.[^|\n]*)", RECIPE)


def test_it_runs_what_a_gpu_is_for() -> None:
    modules = {command.split()[0] for command in COMMANDS}
    assert modules == {"puvae_rt.doctor", "export.build", "export.verify"}


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_parse(command: str) -> None:
    module, *options = shlex.split(command.replace("$TARGET", "rtx"))
    if importlib.util.find_spec(module).submodule_search_locations is not None:
        module = f"{module}.command"  # of a package that `python -m` runs
    importlib.import_module(module).parser().parse_args(options)


def test_its_folders_and_labels_exist() -> None:
    (tests,) = re.findall(r"pytest -m gpu .*?((?: tests/\S+)+)", RECIPE)
    for folder in tests.split():
        marked = [path for path in (ROOT / folder).glob("*.py") if "mark.gpu" in path.read_text()]
        assert marked, f"{folder} has no test for a GPU"
    watched = re.findall(r'"([^"*]+)/\*\*"', RECIPE)
    assert all((ROOT / folder).is_dir() for folder in watched)
    assert {"puvae_rt/kernels", "puvae_rt/device", "puvae_rt/gpu", "tests/cuda", "tests/device"} <= set(watched)
    extras = (ROOT / "pyproject.toml").read_text()
    for extra in ("cuda", "cuda12", "rtx"):
        assert re.search(rf"^{extra} = ", extras, re.M)
