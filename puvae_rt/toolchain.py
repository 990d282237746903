"""The packages installed beside puvae_rt (export, calib, demos), loaded from there and from nowhere else.

Their names are common words. Python's own import takes the first file of that name on its path, which may be a
stranger's: an `export.py` in the working directory, say. Here the folder beside puvae_rt decides.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from puvae_rt import errors
from puvae_rt.errors import BuildError, PuvaeError, ToolchainError
from puvae_rt.files import temporary_folder

HOME = Path(__file__).resolve().parent.parent
# Package -> the others that it imports (tests/test_imports.py holds it against the source).
REACHES: dict[str, tuple[str, ...]] = {"export": (), "calib": (), "demos": ()}
# The child's first line. Before it, the working directory is where Python looks for modules.
_START = "import sys; sys.path[:] = sys.argv[2:]; from puvae_rt import toolchain; toolchain.answer(sys.argv[1])"
_SHOWN_LINES = 15  # of what a build that died had written


def import_own(name: str) -> ModuleType:
    """The module `name` of one of these packages, such as "export.build".

    Raises:
        ToolchainError: the package is not installed, or a foreign module of its name is imported already.
    """
    package = name.partition(".")[0]
    for needed in (*REACHES[package], package):
        adopt(needed)
    return import_module(name)


def adopt(package: str) -> None:
    """Makes `import package` mean the one beside puvae_rt, for this process. Raises as `import_own`."""
    folder = HOME / package
    taken = sys.modules.get(package)
    if taken is not None:
        _check_own(taken, folder)
        return
    init = folder / "__init__.py"
    if not init.is_file():
        raise ToolchainError(f"{init}: no such file; {package!r} is installed with puvae-rt: reinstall puvae-rt")
    spec = spec_from_file_location(package, init, submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None  # for a file that ends in .py
    module = sys.modules[package] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[package]
        raise


def _check_own(module: ModuleType, folder: Path) -> None:
    paths = [Path(path).resolve() for path in getattr(module, "__path__", ())]
    if folder not in paths:
        where = getattr(module, "__file__", None) or ", ".join(map(str, paths)) or "built in"
        raise ToolchainError(
            f"module {module.__name__!r} is imported already, from {where}; expected {folder}: rename the other one, "
            "or run the `puvae` command in a process of its own"
        )


def build_on_demand(
    model: str,
    target: str,
    precision: str,
    out: Path,
    compute_capabilities: Sequence[str] | None = None,
    options: Mapping[str, str | int | None] | None = None,
) -> Path:
    """Builds the bundle of a model in a process of its own, and returns its folder inside `out`.

    Nothing is imported from the working directory there, and nothing of the build stays in this process.

    Args:
        model: a shipped model's name.
        target: what to build for.
        precision: "fp32" or "fp16".
        out: where the bundle's folder is made.
        compute_capabilities: GPUs of a target that compiles ahead of time; None is the default.
        options: other fields of `export.settings.BuildSettings`.
    Raises:
        PuvaeError: as `export.build.build` raises it.
        BuildError: the process could not be started, or died.
    """
    if not sys.executable:
        raise BuildError(
            f"model {model!r} for target {target!r}: this program does not know its Python interpreter; build the "
            f"bundle with `puvae build --model {model} --target {target}` and load its folder"
        )
    request: dict[str, Any] = {"model": model, "target": target, "precision": precision, "out": str(out.absolute())}
    request |= {"compute_capabilities": compute_capabilities, "options": dict(options or {})}
    with temporary_folder() as scratch:
        (letter := scratch / "request.json").write_text(json.dumps(request), "utf-8")
        command = [sys.executable, "-c", _START, str(letter), *_child_path()]
        try:
            child = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
        except OSError as error:
            raise BuildError(f"{sys.executable}: cannot be started to build {model!r} ({error})") from error
        reply = _reply_path(letter)
        if child.returncode or not reply.is_file():
            said = "\n  ".join(child.stdout.decode("utf-8", "replace").splitlines()[-_SHOWN_LINES:])
            raise BuildError(
                f"the build of {model!r} for target {target!r} died with exit code {child.returncode}; try `puvae "
                f"build --model {model} --target {target}`. It wrote:\n  {said or 'nothing'}"
            )
        document = json.loads(reply.read_text("utf-8"))
    if "error" in document:
        raise _error(document["error"], document["message"])
    return Path(document["bundle"])


def _child_path() -> Sequence[str]:
    """Where the child looks for modules: as this process, without the working directory, and with this puvae_rt."""
    path = [entry for entry in sys.path if entry]
    found = PathFinder.find_spec("puvae_rt", path)
    if found is None or found.origin is None or Path(found.origin).resolve().parent.parent != HOME:
        path.insert(0, str(HOME))
    return path


def _reply_path(request: Path) -> Path:
    return request.with_name("reply.json")


def answer(request: str) -> None:
    """What the child process of `build_on_demand` runs: reads its request's file, writes the reply beside it."""
    path = Path(request)
    asked = json.loads(path.read_text("utf-8"))
    _reply_path(path).write_text(json.dumps(_built(asked)), "utf-8")


def _built(asked: dict[str, Any]) -> dict[str, str]:
    try:
        export_build: Any = import_own("export.build")
        names = (asked[name] for name in ("target", "precision"))
        settings = export_build.BuildSettings(asked["model"], Path(asked["out"]), *names, **asked["options"])
        if asked["compute_capabilities"] is not None:
            settings = replace(settings, compute_capabilities=tuple(asked["compute_capabilities"]))
        folder, _ = export_build.build(settings)
    except PuvaeError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        return {"error": "BuildError", "message": f"{error}; expected room on the disk of {asked['out']}"}
    return {"bundle": str(folder)}


def _error(name: str, message: str) -> PuvaeError:
    """The child's exception; BuildError where only the child knows its class, or it takes more than a message."""
    kind = getattr(errors, name, BuildError)
    if kind is errors.DeviceError or not (isinstance(kind, type) and issubclass(kind, PuvaeError)):
        kind = BuildError
    raised: PuvaeError = kind(message)
    return raised
