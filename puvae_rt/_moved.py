"""Old import paths and old names, which go on working until 0.3: each gives what it has become, and warns."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import Any

GONE_IN = "0.3"

# A module's old name -> where it lives now. What lies below an old package is found below its new one.
MOVED = {
    "export.atomic": "export.output",
    "export.checkpoint": "puvae_rt.models.checkpoint",
    "export.description": "puvae_rt.graph.description",
    "export.graph": "puvae_rt.graph.graph",
    "export.onnx_file": "puvae_rt.graph.onnx_file",
    "export.passes": "puvae_rt.graph.passes",
    "export.reference": "puvae_rt.graph.reference",
    "export.selection": "puvae_rt.graph.selection",
    "export.weights": "puvae_rt.models.weights",
    "export.trt": "puvae_rt.gpu.tensorrt",
    "puvae_rt.command": "puvae_rt.cli.command",
    "puvae_rt.benchmark": "puvae_rt.bench",
    "puvae_rt.diagnosis": "puvae_rt.doctor",
    "puvae_rt.digest": "puvae_rt.files",
    "puvae_rt.download": "puvae_rt.data.download",
    "puvae_rt.robustness": "puvae_rt.attacks",
    "puvae_rt.robustness.attacks": "puvae_rt.attacks.white_box",
    "puvae_rt.robustness.defences": "puvae_rt.defenses",
    "puvae_rt.runtime.device": "puvae_rt.device",
    "puvae_rt.runtime.device.cuda_python": "puvae_rt.device.cuda",
    "puvae_rt.runtime.device.images": "puvae_rt.device.binaries",
    "puvae_rt.runtime.fields": "puvae_rt.schema",
    "puvae_rt.runtime.gpu": "puvae_rt.gpu",
    "puvae_rt.runtime.gpu.buffers": "puvae_rt.gpu.memory",
    "puvae_rt.runtime.gpu.engine": "puvae_rt.gpu.pool",
    "puvae_rt.runtime.images": "puvae_rt.runtime.preprocess",
    "puvae_rt.runtime.ort": "puvae_rt.runtime.cpu",
    "puvae_rt.runtime.pipeline": "puvae_rt.gpu.pipeline",
    "puvae_rt.runtime.source": "puvae_rt.runtime.bundle",
    "puvae_rt.runtime.trt": "puvae_rt.gpu.tensorrt",
    "puvae_rt.video.canvas": "demos.play.canvas",
    "puvae_rt.video.defence": "demos.play.defense",
    "puvae_rt.video.digits": "demos.play.digits",
    "puvae_rt.video.overlay": "demos.play.overlay",
    "puvae_rt.video.report": "demos.play.report",
    "puvae_rt.video.sinks": "demos.play.sinks",
    "puvae_rt.video.synthetic": "demos.play.synthetic",
    "puvae_rt.video.window": "demos.play.window",
}


def new_name(name: str) -> str | None:
    """Where the module `name` lives now, or None when it has not moved."""
    parent, rest = name, ""
    while parent:
        if parent in MOVED:
            return MOVED[parent] + rest
        parent, _, last = parent.rpartition(".")
        rest = f".{last}{rest}"
    return None


class MovedFinder:
    """Finds modules by their old names. No importlib.abc here: it would double what `import puvae_rt` takes."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a module under its old name; None for every other name."""
        new = new_name(fullname)
        if new is not None and (top := new.partition(".")[0]) != "puvae_rt":
            from puvae_rt.toolchain import adopt  # lazily: few processes need it

            adopt(top)  # never a stranger's
        found = None if new is None else find_spec(new)
        if new is None or found is None:
            return None
        package = found.submodule_search_locations is not None
        return ModuleSpec(fullname, _MovedLoader(new), origin=found.origin, is_package=package)  # type: ignore[arg-type]


class _MovedLoader:
    """Makes the new module the old name's, too: one module under two names."""

    def __init__(self, new: str) -> None:
        self._new = new
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        message = f"{spec.name} is now {self._new}; the old name goes in {GONE_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)  # the import system's own frames are skipped
        module = import_module(self._new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just put the old name's in its place

    def get_code(self, fullname: str) -> CodeType | None:
        """The new module's code: `python -m` with an old name runs it."""
        spec = find_spec(self._new)
        return None if spec is None else spec.loader.get_code(self._new)  # type: ignore[union-attr]


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a module: gives what its old names have become, and warns.

    Args:
        module: its `__name__`.
        names: old name -> new one in the same module, or "package.module:name".
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(":")
        message = f"{module}.{name} is now {f'{home}.' if home else ''}{new}; the old name goes in {GONE_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(import_module(home or module), new)

    return __getattr__


def install() -> None:
    """Makes the old names importable; more than once is the same as once."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MovedFinder())
