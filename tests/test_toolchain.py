"""The packages beside puvae_rt, where a stranger's file of the same name lies in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from puvae_rt import toolchain
from puvae_rt.errors import BuildError, PuvaeError, ToolchainError, UnknownModelError
from tests.test_imports import imports, sources

ROOT = Path(__file__).parent.parent
STRANGER = "stranger-ran"


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder with files called like each of our packages; each leaves a mark when it runs."""
    for package in toolchain.REACHES:
        (tmp_path / f"{package}.py").write_text(f"open({str(tmp_path / STRANGER)!r}, 'a').write(__name__)\n")
    return tmp_path


def run(code: str, folder: Path, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in `folder`, with that folder and `path` in front on its module path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["export.build", "export.verify", "calib.low_rank", "demos.video"])
@pytest.mark.parametrize("where", ["working directory", "PYTHONPATH"])
def test_our_modules_are_loaded_where_a_stranger_has_their_name(
    name: str, where: str, strangers: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code = f"from puvae_rt.toolchain import import_own; print(import_own({name!r}).__file__)"
    empty = tmp_path_factory.mktemp("empty")
    done = run(code, strangers) if where == "working directory" else run(code, empty, strangers)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / f"{name.replace('.', '/')}.py"
    assert not (strangers / STRANGER).exists()


def test_an_old_name_of_a_demo_is_not_looked_for_at_a_strangers(strangers: Path) -> None:
    done = run("import puvae_rt.video.canvas as moved; print(moved.__name__)", strangers)
    assert done.stdout.strip() == "demos.play.canvas", done.stderr
    assert not (strangers / STRANGER).exists()


def test_a_foreign_module_that_is_imported_already_is_refused(strangers: Path) -> None:
    code = (
        "import export\nfrom puvae_rt.toolchain import *\n"
        "try: import_own('export.build')\nexcept ToolchainError as error: print(error)"
    )
    done = run(code, strangers)
    assert done.returncode == 0, done.stderr
    assert str(strangers / "export.py") in done.stdout and str(ROOT / "export") in done.stdout


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "HOME", tmp_path)
    monkeypatch.delitem(sys.modules, "export", raising=False)
    with pytest.raises(ToolchainError, match=r"export/__init__\.py: no such file; .* reinstall puvae-rt"):
        toolchain.import_own("export.build")


def test_what_each_package_reaches_is_what_it_imports() -> None:
    for package, reaches in toolchain.REACHES.items():
        found = {name.partition(".")[0] for path in sources(package) for name in imports(path)}
        assert found & (toolchain.REACHES.keys() - {package}) == set(reaches), package


def test_a_build_on_demand_never_runs_a_stranger(strangers: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom puvae_rt.toolchain import build_on_demand\n"
        "from puvae_rt.errors import UnknownModelError\n"
        f"try: build_on_demand('absent', 'cpu', 'fp32', Path({str(tmp_path)!r}))\n"
        "except UnknownModelError as error: print(error)"
    )
    for folder in (strangers, ROOT):
        done = run(code, folder, strangers)
        assert "--model absent: not shipped" in done.stdout, done.stderr
    assert not (strangers / STRANGER).exists()


@pytest.mark.slow
def test_a_purifier_for_a_gpu_is_built_beside_a_stranger(strangers: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the engine is built by TensorRT-RTX: pip install '.[rtx]'")
    code = (
        "import numpy as np\nfrom puvae_rt import Purifier\n"
        "with Purifier.load('mnist', target='rtx', device='emulated') as p:\n"
        "    print(p.purify(np.zeros((2, 1, 28, 28), np.uint8)).labels.shape)"
    )
    done = run(code, strangers, strangers, PUVAE_CACHE=str(tmp_path / "cache"))
    assert done.stdout.strip() == "(2,)", done.stderr
    assert not (strangers / STRANGER).exists()


def test_errors_of_the_build_keep_their_class(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="--model absent: not shipped"):
        toolchain.build_on_demand("absent", "cpu", "fp32", tmp_path)
    with pytest.raises(PuvaeError, match="--precision int3: expected one of"):
        toolchain.build_on_demand("mnist", "cpu", "int3", tmp_path)


def test_a_build_that_dies_says_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_START", "import sys; sys.exit('out of luck')")
    with pytest.raises(BuildError, match=r"died with exit code 1(?s:.*)out of luck"):
        toolchain.build_on_demand("mnist", "cpu", "fp32", tmp_path)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(BuildError, match="does not know its Python interpreter; build the bundle with `puvae build"):
        toolchain.build_on_demand("mnist", "rtx", "fp16", tmp_path)


def test_a_device_that_is_absent_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from puvae_rt.errors import ContractError
    from puvae_rt.runtime import bundle, on_demand

    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(on_demand, "build_on_demand", lambda *a: pytest.fail("built"))
    with pytest.raises(ContractError, match="expected one of cuda, pycuda, emulated"):
        bundle.resolve("mnist", "rtx", True, device="vulkan")
