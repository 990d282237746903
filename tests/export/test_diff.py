"""`puvae diff`: every field that differs is named, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.diff import ABSENT, differences
from puvae_rt.cli.main import main
from puvae_rt.contract import ImageContract, Score
from puvae_rt.runtime.manifest import Engine, Layer, Manifest, Options
from tests.runtime import toy

LAYER = Layer("conv", "Conv", "fp32", ("image",), ("purified",))
SHOWN = {"type": "Conv", "precision": "fp32"}
ENGINE = Engine((), (), (LAYER,), 1, 4, 1.5, "measured")
BASE = Manifest(
    "mnist", ("a", "b"), ImageContract(1, 28, 28), Score(), "cpu", "fp32", ("hoist",), 0.0, {"engine.onnx": "0" * 64},
    "1" * 64, {"onnx": "1.16"}, ENGINE, Options((1,), (), True),
)  # fmt: skip

CASES: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, Any]]]] = {
    "same": ({}, {}),
    "precision": ({"precision": "fp16"}, {"precision": ("fp32", "fp16")}),
    "layer": (
        {"engine": replace(ENGINE, layers=(replace(LAYER, precision="fp16"),))},
        {"engine.layers.conv.precision": ("fp32", "fp16")},
    ),
    "one layer more": (
        {"engine": replace(ENGINE, layers=(replace(LAYER, name="cast"), LAYER))},
        {"engine.layers.cast": (ABSENT, SHOWN)},
    ),
    "layers of one name": (
        {"engine": replace(ENGINE, layers=(LAYER, LAYER))},
        {"engine.layers": ({"conv": SHOWN}, [SHOWN, SHOWN])},
    ),
    "passes": ({"passes": ()}, {"passes": (("hoist",), ())}),
    "tool": ({"tools": {"onnx": "1.16", "numpy": "2"}}, {"tools.numpy": (ABSENT, "2")}),
    "duration": ({"engine": replace(ENGINE, build_seconds=9.0)}, {}),
}


@pytest.mark.parametrize("change, expected", CASES.values(), ids=CASES.keys())
def test_each_field_that_differs_is_named(change: dict[str, Any], expected: dict[str, tuple[Any, Any]]) -> None:
    assert differences(BASE, replace(BASE, **change)) == expected


def test_the_command_compares_bundles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    one, other = (str(toy.save_bundle(tmp_path / name)) for name in ("one", "other"))
    assert main(["diff", one, other]) == 0
    assert capsys.readouterr().out == "no difference\n"
    manifest = tmp_path / "other" / "manifest.json"
    changed = replace(Manifest.read(Path(other)), sigma=0.5)
    changed.write(Path(other))
    assert main(["diff", one, other, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["differences"] == {"sigma": {"first": 0.0, "second": 0.5}}
    manifest.write_text("{}")
    assert main(["diff", one, other]) == 2
    assert "manifest.json" in capsys.readouterr().err
