"""The text of every error fits any encoding, whatever a file is called."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from puvae_rt import errors
from puvae_rt.errors import DeviceError, FileError, PuvaeError
from puvae_rt.refusal import install

NAME = "a\udcff\0\x1b[2J\u202e.png"
ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PuvaeError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_name_that_is_not_printable_is_escaped(kind: type[PuvaeError]) -> None:
    given = {FileError: (2, "is absent", NAME), DeviceError: (NAME, "CUDA_ERROR", "no")}.get(kind, (f"{NAME}: no",))
    text = str(kind(*given))
    assert text.isprintable() and text.encode("utf-8")
    assert r"a\udcff\x00\x1b[2J\u202e.png" in text


def test_what_is_printable_stays_as_it_is() -> None:
    assert str(PuvaeError("straße: 2 lines\n  of ü")) == "straße: 2 lines\n  of ü"
    assert str(PuvaeError()) == ""


def test_no_text_advises_an_install_from_an_index_or_a_command_by_its_module() -> None:
    """The package is on no index; `puvae COMMAND` is how its commands are called."""
    old = re.compile(
        r"pip install '?puvae-rt|puvae-rt\[|python -m (export|calib|demos)\.|python -m puvae_rt\.(bench|train|eval)"
    )
    texts = [
        f"{path}:{node.lineno}: {node.value}"
        for folder in ("puvae_rt", "export", "calib", "demos")
        for path in (Path(__file__).parent.parent / folder).rglob("*.py")
        for node in strings(ast.parse(path.read_text("utf-8")))
        if old.search(node.value)
    ]
    assert texts == []
    assert install("train") == "`python -m pip install '.[train]'` in the folder of its clone"


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Every text of a module but its docstrings."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, owners) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node
