"""Dependencies point one way (DESIGN, section 7), read from the source: lazy imports count as well."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("puvae_rt", "export", "calib", "demos")
TRAINING_ONLY = ("puvae_rt.training", "puvae_rt.train")

# Where each part lives -> modules that nothing in it may import.
RUNTIME_FORBIDS = (
    "torch",
    "matplotlib",
    "puvae_rt.models.puvae",
    "puvae_rt.models.classifiers",
    *TRAINING_ONLY,
    "demos",
)
FORBIDDEN = {
    "puvae_rt/contract.py": ("puvae_rt.runtime", "puvae_rt.models", "torch", "onnx", "export", "calib", "demos"),
    "puvae_rt/runtime": (*RUNTIME_FORBIDS, "calib"),
    "puvae_rt/graph": (*RUNTIME_FORBIDS, "puvae_rt.runtime", "puvae_rt.gpu", "puvae_rt.device", "export", "calib"),
    "puvae_rt/device": (*RUNTIME_FORBIDS, "puvae_rt.runtime", "puvae_rt.gpu", "export", "calib"),
    "puvae_rt/gpu": (*RUNTIME_FORBIDS, "calib"),
    "puvae_rt/attacks": ("puvae_rt.evaluation", "puvae_rt.defenses", "export", "calib", "demos"),
    "puvae_rt/defenses": ("puvae_rt.evaluation", "export", "calib", "demos"),
    "puvae_rt/video": (*RUNTIME_FORBIDS, "export", "calib"),
    "puvae_rt/kernels": (*RUNTIME_FORBIDS, "puvae_rt.runtime.purifier", "export", "calib"),
    "puvae_rt/models": ("puvae_rt.runtime", "puvae_rt.training", "export", "calib", "demos", "tensorrt"),
    "puvae_rt/training": ("puvae_rt.runtime", "export", "calib", "demos", "tensorrt", "tensorrt_rtx", "onnxruntime"),
    "export": ("calib", "demos", "torch"),
    "calib": ("demos", "export.build"),
    "demos": ("torch", *TRAINING_ONLY),
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(part: str) -> list[Path]:
    path = ROOT / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("part", FORBIDDEN)
def test_dependencies_point_one_way(part: str) -> None:
    paths = sources(part)
    assert paths, f"{part} has no source files"
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in paths
        for module in sorted(imports(path))
        for forbidden in FORBIDDEN[part]
        if within(module, forbidden) and not within(module, "puvae_rt.runtime.fields")
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_gpu_target_reaches_from_the_runtime_into_export_and_lazily() -> None:
    for path in sources("puvae_rt"):
        if any(within(module, "export") for module in imports(path)):
            name = path.relative_to(ROOT / "puvae_rt")
            assert name.parts[0] in ("runtime", "gpu"), f"{name} imports export"
            top = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
            assert not any(within(node.module or "", "export") for node in top), f"{name} imports export eagerly"


def test_no_module_reads_pickles() -> None:
    unsafe = {"pickle", "dill", "joblib", "shelve", "marshal"}
    wrong = [str(path) for part in PACKAGES for path in sources(part) if unsafe & imports(path)]
    loads = [
        str(path)
        for part in PACKAGES
        for path in sources(part)
        if "torch.load(" in path.read_text("utf-8") or "allow_pickle=True" in path.read_text("utf-8")
    ]
    assert not wrong + loads
