"""Dependencies point one way (DESIGN, section 7), read from the source: lazy imports count as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BESIDE = ("export", "calib", "demos")  # puvae_rt reaches them through `toolchain`, which no stranger's file misleads
PACKAGES = ("puvae_rt", *BESIDE)
TRAINING_ONLY = ("puvae_rt.training", "puvae_rt.train")

# Where each part lives -> modules that nothing in it may import.
RUNTIME_FORBIDS = (
    "torch",
    "matplotlib",
    "puvae_rt.models.puvae",
    "puvae_rt.models.classifiers",
    "puvae_rt.models.score",
    *TRAINING_ONLY,
    "puvae_rt.evaluation",
    *BESIDE,
)
TENSORRT = ("tensorrt", "tensorrt_rtx", "puvae_rt.gpu")
FORBIDDEN = {
    "puvae_rt": BESIDE,
    "puvae_rt/contract.py": ("puvae_rt.runtime", "puvae_rt.models", "torch", "onnx"),
    "puvae_rt/schema.py": ("puvae_rt.runtime", "puvae_rt.models", "torch", "onnx"),
    "puvae_rt/files.py": ("puvae_rt.runtime", "puvae_rt.models", "puvae_rt.contract"),
    "puvae_rt/toolchain.py": ("puvae_rt.runtime", "puvae_rt.cli", "numpy"),
    "puvae_rt/cli": ("torch", "onnxruntime", "onnx", "cv2", "matplotlib", "tensorrt", "tensorrt_rtx"),  # even lazily
    "puvae_rt/data": ("torch", "onnxruntime", "puvae_rt.runtime", "puvae_rt.models", *TRAINING_ONLY),
    "puvae_rt/runtime": RUNTIME_FORBIDS,
    "puvae_rt/graph": (*RUNTIME_FORBIDS, "puvae_rt.runtime", "puvae_rt.gpu", "puvae_rt.device"),
    "puvae_rt/native": (*RUNTIME_FORBIDS, "puvae_rt.runtime", "puvae_rt.gpu", "puvae_rt.device"),
    "puvae_rt/device": (*RUNTIME_FORBIDS, "puvae_rt.runtime", "puvae_rt.gpu"),
    "puvae_rt/gpu": RUNTIME_FORBIDS,
    "puvae_rt/video": RUNTIME_FORBIDS,
    "puvae_rt/stream": RUNTIME_FORBIDS,
    "puvae_rt/driving": RUNTIME_FORBIDS,
    "puvae_rt/kernels": (*RUNTIME_FORBIDS, "puvae_rt.runtime", "puvae_rt.gpu", "puvae_rt.device"),
    "puvae_rt/ros": RUNTIME_FORBIDS,
    "puvae_rt/ros/core.py": ("rclpy", "sensor_msgs", "puvae_rt.ros.node"),
    "puvae_rt/ros/pictures.py": ("rclpy", "sensor_msgs", "puvae_rt.ros.node"),
    "puvae_rt/bench": tuple(name for name in RUNTIME_FORBIDS if name != "matplotlib"),  # which draws its figures
    "puvae_rt/doctor": RUNTIME_FORBIDS,
    "puvae_rt/purify": RUNTIME_FORBIDS,
    "puvae_rt/purify/batch.py": ("ray", "pyarrow", "fsspec", "daft", "pyspark"),  # no engine of distribution
    "puvae_rt/models": ("puvae_rt.runtime", "puvae_rt.attacks", *TRAINING_ONLY, *TENSORRT),
    "puvae_rt/attacks": ("puvae_rt.evaluation", "puvae_rt.defenses", *TRAINING_ONLY, *TENSORRT),
    "puvae_rt/defenses": ("puvae_rt.evaluation", *TRAINING_ONLY, *TENSORRT),
    "puvae_rt/training": (
        *("puvae_rt.evaluation", "puvae_rt.defenses", "puvae_rt.runtime", "onnxruntime"),
        *TENSORRT,
    ),
    "puvae_rt/evaluation": ("puvae_rt.bench", "puvae_rt.doctor", "puvae_rt.evaluate", *TENSORRT),
    "export": ("calib", "demos", "torch"),
    "calib": ("demos", "export.build"),
    "demos": ("torch", *TRAINING_ONLY),
}
# Files that import one another, and what cuts them apart.
CIRCLES: list[set[str]] = []


def imported(path: Path, only_run: bool = False) -> Iterator[tuple[str, str]]:
    """(module, name taken out of it or "") of every import in a file; `only_run`: not the type checker's."""
    todo: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        if not (only_run and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            todo += ast.iter_child_nodes(node)


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, and "module.name" for what is taken out of them."""
    return {found for module, name in imported(path) for found in (module, f"{module}.{name}" if name else module)}


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
        if within(module, forbidden)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_part_has_a_rule() -> None:
    parts = {f"puvae_rt/{path.parent.name}" for path in (ROOT / "puvae_rt").glob("*/__init__.py")}
    assert parts | set(BESIDE) <= FORBIDDEN.keys()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def import_graph() -> dict[str, set[str]]:
    """Product module -> the product modules that it imports when it runs, now or later."""
    files = {module_name(path): path for package in PACKAGES for path in sources(package)}
    found = {
        name: {inner if (inner := f"{module}.{taken}") in files else module for module, taken in imported(path, True)}
        for name, path in files.items()
    }
    return {name: (reached & files.keys()) - {name} for name, reached in found.items()}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules of which each reaches every other."""
    reached = {name: reachable(graph, name) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return [set(group) for group in groups if group]


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """What `start` imports, and what that imports, and so on."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = graph[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def test_no_module_imports_itself_through_others() -> None:
    found = [group for group in circles(import_graph()) if group not in CIRCLES]
    assert not found, "\n".join(f"circle: {', '.join(sorted(group))}" for group in found)


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == [{"b", "c"}]


def test_library_code_knows_of_the_command_line_only_where_python_m_enters_it() -> None:
    entry = ("puvae_rt.cli.entry",)
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for part in ("puvae_rt", "export", "calib")
        for path in sources(part)
        if not path.is_relative_to(ROOT / "puvae_rt/cli")
        for module, _ in imported(path)
        if within(module, "puvae_rt.cli") and not any(within(module, known) for known in entry)
    ]
    assert not wrong, "\n".join(wrong)


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
