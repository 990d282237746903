"""The PyCUDA layer, and the stand-in that its tests run on, use only names that PyCUDA has."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from tests.device import fake_pycuda

ROOT = Path(__file__).parents[2]
NAMES = set(json.loads(Path(__file__).with_name("pycuda.json").read_text()))
OWN = {"api", "device", "raw", "driver", "properties", "guard", "current"}  # attributes of our own objects
OBJECTS = {"raw", "api", "names", "device", "_module", "_context", "allocation", "function", "base"}  # PyCUDA's


def used() -> set[str]:
    tree = ast.parse((ROOT / "puvae_rt/device/pycuda.py").read_text())
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if last_name(node.value) in OBJECTS} - OWN


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def test_every_name_that_we_use_exists() -> None:
    found = used()
    assert {"mem_alloc", "wait_for_event", "pagelocked_empty", "prepare", "retain_primary_context"} <= found
    assert not found - NAMES


def test_the_stand_in_has_no_names_of_its_own() -> None:
    public = {name for name in dir(fake_pycuda.FakePycuda) if not name.startswith("_")}
    public |= {name for kind in (fake_pycuda.Allocation, fake_pycuda.Function) for name in vars(kind) if name[0] != "_"}
    assert not public - NAMES
