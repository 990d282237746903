"""What our sources ask of TensorRT, read from their syntax trees.

Types are followed through assignments and return values; parameters and attributes go by their name (`builder`,
`self._engine`), which is how TensorRT's own samples call them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

MODULE = "module"
NAMED = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "runtime_cache": "IRuntimeCache",
    "runtime_config": "IRuntimeConfig",
    "trt": MODULE,
}
PASSED_THROUGH = {"require"}  # our own checks that give back their argument


class Use(NamedTuple):
    """One name of TensorRT, and how it is called; `arity` None when it is not."""

    owner: str  # a class, or "module"
    name: str
    positional: int | None
    keywords: tuple[str, ...]
    line: int
    guards: frozenset[str]  # names that `hasattr` was asked for in the same function


@dataclass
class Reader(ast.NodeVisitor):
    """Collects the uses of one function or module body."""

    api: dict[str, Any]
    uses: list[Use] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    guards: frozenset[str] = frozenset()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        guards = frozenset(_asked(node))
        inner = Reader(self.api, self.uses, {}, guards)
        for child in node.body:
            inner.visit(child)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._bind(target, node.value)
            if isinstance(target, ast.Attribute):
                self.visit(target)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for t, v in zip(target.elts, value.elts, strict=True):
                self._bind(t, v)
        elif isinstance(target, ast.Name):
            found = self.type_of(value)
            if found:
                self.types[target.id] = found

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self._use(node.func, node)
            self.visit(node.func.value)
        else:
            self.visit(node.func)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(argument)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._use(node, None)
        self.visit(node.value)

    def _use(self, node: ast.Attribute, call: ast.Call | None) -> None:
        owner = self.type_of(node.value)
        if owner is None or node.attr.startswith("__"):
            return
        positional = len(call.args) if call else None
        keywords = tuple(keyword.arg or "**" for keyword in call.keywords) if call else ()
        self.uses.append(Use(owner, node.attr, positional, keywords, node.lineno, self.guards))

    def type_of(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self.types.get(node.id) or NAMED.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._type_of_attribute(node)
        if isinstance(node, ast.Call):
            return self._type_of_call(node)
        return None

    def _type_of_attribute(self, node: ast.Attribute) -> str | None:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return NAMED.get(node.attr.lstrip("_"))
        owner = self.type_of(node.value)
        return node.attr if owner == MODULE and node.attr in self.api["classes"] else None

    def _type_of_call(self, node: ast.Call) -> str | None:
        if not isinstance(node.func, ast.Attribute):
            return None
        if node.func.attr in PASSED_THROUGH:
            return next((t for t in map(self.type_of, node.args) if t), None)
        owner = self.type_of(node.func.value)
        if owner == MODULE:
            return node.func.attr if node.func.attr in self.api["classes"] else None
        found = self.api["returns"].get(owner, {}).get(node.func.attr) if owner else None
        return str(found) if found else None


def _asked(node: ast.AST) -> Iterator[str]:
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
    for call in calls:
        if call.func.id == "hasattr" and isinstance(call.args[1], ast.Constant):  # type: ignore[attr-defined]
            yield str(call.args[1].value)


def uses(source: Path | str, api: dict[str, Any]) -> list[Use]:
    reader = Reader(api)
    reader.visit(ast.parse(source.read_text() if isinstance(source, Path) else source))
    return reader.uses


def problem(use: Use, api: dict[str, Any]) -> str | None:
    """Why this version of TensorRT does not have what is used; None when it does, or when it was asked for first."""
    if any(_absent(guard, api) for guard in use.guards):
        return None
    if use.owner == MODULE:
        if use.name not in api["names"]:
            return f"line {use.line}: no {use.name}"
        overloads = api["classes"].get(use.name, {}).get("__init__")
    elif use.name not in api["classes"].get(use.owner, {}):
        return f"line {use.line}: no {use.owner}.{use.name}"
    else:
        overloads = api["classes"][use.owner][use.name]
    if use.positional is None or overloads is None or any(_fits(use, names) for names in overloads):
        return None
    return f"line {use.line}: {use.owner}.{use.name} takes {overloads}, not {use.positional} and {use.keywords}"


def _absent(name: str, api: dict[str, Any]) -> bool:
    return name not in api["names"] and not any(name in members for members in api["classes"].values())


def _fits(use: Use, names: list[str]) -> bool:
    if names == ["*"]:
        return True
    plain = [name.rstrip("=") for name in names]
    given = [*plain[: use.positional], *use.keywords]
    required = {name for name in names if not name.endswith("=")}
    return (use.positional or 0) <= len(names) and set(given) <= set(plain) and required <= set(given)
