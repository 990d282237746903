"""`python -m tests.house`: counts what keeps the code pleasant, and exits 1 where a count is not 0.

Circles of imports, files over 300 lines, functions over 50 lines, and public definitions without a docstring. The
directions of imports are held by tests/test_imports.py.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("puvae_rt", "export", "calib", "demos")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 50

# What may break a rule, and why: "path" for a file, "path:name" for a definition.
ALLOWED: dict[str, str] = {}

# Where a file's classes implement a protocol of another file, which says once what each method does.
IMPLEMENTS = {
    "puvae_rt/device/cuda.py": "puvae_rt/device/protocol.py",
    "puvae_rt/device/cuda_kernels.py": "puvae_rt/device/protocol.py",
    "puvae_rt/device/pycuda.py": "puvae_rt/device/protocol.py",
    "puvae_rt/device/emulated/device.py": "puvae_rt/device/protocol.py",
    "puvae_rt/device/emulated/objects.py": "puvae_rt/device/protocol.py",
    "puvae_rt/gpu/stand_in.py": "puvae_rt/gpu/compiled.py",
    "puvae_rt/gpu/tensorrt/engine.py": "puvae_rt/gpu/compiled.py",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Every product file, as a path below the root."""
    return [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"))


def long_files() -> Iterator[str]:
    for path in sources():
        lines = (ROOT / path).read_text("utf-8").count("\n")
        if lines > MAX_FILE_LINES and str(path) not in ALLOWED:
            yield f"{path}: {lines} lines, expected at most {MAX_FILE_LINES}"


def long_functions() -> Iterator[str]:
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function) and f"{path}:{node.name}" not in ALLOWED:
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    yield f"{path}:{node.lineno}: {node.name} has {lines} lines, expected at most {MAX_FUNCTION_LINES}"


def undocumented() -> Iterator[str]:
    """Public classes and functions, and public methods of public classes, that say nothing of themselves.

    A property, an overload and a method that implements a documented one of a base class in the same file, or of the
    protocol that IMPLEMENTS names, say it there.
    """
    for path in sources():
        tree = tree_of(path)
        documented = _documented_methods(tree)
        if str(path) in IMPLEMENTS:
            documented |= _documented_methods(tree_of(Path(IMPLEMENTS[str(path)])))
        for name, node in _public(tree):
            inherited = "." in name and node.name in documented
            if not ast.get_docstring(node) and not inherited and f"{path}:{name}" not in ALLOWED:
                yield f"{path}:{node.lineno}: {name} has no docstring"


def _documented_methods(tree: ast.Module) -> set[str]:
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    methods = (node for cls in classes for node in cls.body if isinstance(node, Function))
    return {method.name for method in methods if ast.get_docstring(method)}


def _public(tree: ast.Module) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, Function) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """The product's modules that a file imports when it is imported itself or later; not those for types alone."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(names & modules or {node.module})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree_of(path))
    return found & modules


def module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circles() -> Iterator[str]:
    """Groups of modules that import each other (strongly connected components)."""
    paths = {module_of(path): path for path in sources()}
    graph = {module: imports_of(path, set(paths)) - {module} for module, path in paths.items()}
    reach = {module: _reachable(graph, module) for module in graph}
    seen: set[str] = set()
    for module in graph:
        circle = {other for other in reach[module] if module in reach[other]} | {module}
        if len(circle) > 1 and not circle & seen:
            seen |= circle
            yield f"circle of {len(circle)}: {', '.join(sorted(circle))}"


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph[module]
    return found


RULES = {
    "circles of imports": circles,
    f"files over {MAX_FILE_LINES} lines": long_files,
    f"functions over {MAX_FUNCTION_LINES} lines": long_functions,
    "public definitions without a docstring": undocumented,
}


def main() -> int:
    """Prints every finding and the counts; 1 where there is any."""
    broken = 0
    for title, rule in RULES.items():
        findings = list(rule())
        broken += len(findings)
        print(*(f"  {finding}" for finding in findings), f"{len(findings):>4}  {title}", sep="\n")
    print(f"{len(ALLOWED):>4}  allowed, each with its reason in tests/house.py")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
