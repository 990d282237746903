"""The one reader of ONNX files: limits, kinds of files, and weights in other files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from puvae_rt import onnx_io
from puvae_rt.errors import BuildError, ContractError
from puvae_rt.onnx_io import external_files, load, read_onnx

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)
DATA = "model.data"


def model(kind: int = TensorProto.FLOAT) -> ModelProto:
    """y = x W, W in the file."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", kind, ["N", 3])],
        [helper.make_tensor_value_info("y", kind, ["N", 4])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The model with its weights in another file."""
    path = tmp_path / "model.onnx"
    onnx.save(model(), path, save_as_external_data=True, location=DATA, size_threshold=0)
    return path


def say(path: Path, **entries: str) -> None:
    """What the model says of where its weights are."""
    document = onnx.load(path, load_external_data=False)
    tensor = document.graph.initializer[0]
    said = {entry.key: entry.value for entry in tensor.external_data} | entries
    tensor.ClearField("external_data")
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(document.SerializeToString())


def test_weights_in_another_file_are_taken_in(path: Path) -> None:
    assert external_files(load(path)) == [DATA]
    taken = read_onnx(path, one_file=False)
    assert external_files(taken) == []
    np.testing.assert_array_equal(numpy_helper.to_array(taken.graph.initializer[0]), WEIGHTS)
    (path.parent / DATA).unlink()
    onnx.checker.check_model(onnx.load_model_from_string(taken.SerializeToString()))


def test_a_part_of_another_file_is_taken_in(path: Path) -> None:
    (path.parent / DATA).write_bytes(bytes(64) + WEIGHTS.tobytes() + b"more")
    say(path, offset="64", length="48")
    np.testing.assert_array_equal(numpy_helper.to_array(read_onnx(path, one_file=False).graph.initializer[0]), WEIGHTS)


def test_weights_in_another_file_are_refused_where_one_is_expected(path: Path) -> None:
    with pytest.raises(ContractError, match=rf"model\.onnx: keeps its weights in {DATA}, expected one file; mend it"):
        read_onnx(path, error=ContractError, remedy="mend it")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def outside(path: Path) -> None:
    path.rename(path.parent.parent / f"{path.parent.name}-{DATA}")
    path.symlink_to(path.parent.parent / f"{path.parent.name}-{DATA}")


DAMAGE: dict[str, tuple[Callable[[Path], None], dict[str, str], str]] = {
    "absent": (Path.unlink, {}, "No such file"),
    "too short": (lambda data: data.write_bytes(b"short"), {}, "got 5 bytes at 0, expected 48"),
    "a FIFO": (fifo, {}, "FIFO"),
    "a link to elsewhere": (outside, {}, "expected a file inside"),
    "a device": (lambda data: None, {"location": "/dev/zero"}, "dev/zero"),
    "the parent folder": (lambda data: None, {"location": f"../{DATA}"}, "expected a file inside"),
    "no name": (lambda data: None, {"location": ""}, "folder"),
    "a negative offset": (lambda data: None, {"offset": "-8"}, "48 bytes at -8"),
    "a negative length": (lambda data: None, {"length": "-1"}, "-1 bytes at 0"),
    "a length beyond reason": (lambda data: None, {"length": str(1 << 40)}, "expected at most"),
    "a length that is no number": (lambda data: None, {"length": "many"}, "many"),
}


@pytest.mark.parametrize("damage, said, message", DAMAGE.values(), ids=DAMAGE)
def test_bad_weights_in_another_file_are_refused(
    path: Path, damage: Callable[[Path], None], said: dict[str, str], message: str
) -> None:
    say(path, **said)
    damage(path.parent / DATA)
    with pytest.raises(BuildError, match=message) as caught:
        read_onnx(path, one_file=False)
    assert str(path) in str(caught.value)


def test_limits_hold_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(onnx_io.MAX_ONNX_BYTES + 1)
    with pytest.raises(BuildError, match=r"huge\.onnx: .* expected at most"):
        read_onnx(huge)
    monkeypatch.setattr(onnx_io, "MAX_ONNX_BYTES", 64)
    onnx.save(model(), tmp_path / "model.onnx")
    with pytest.raises(BuildError, match=r"model\.onnx: .* expected at most 64"):
        read_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("kind", ["a FIFO", "a folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    if kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(BuildError, match=kind):
        read_onnx(path)


def test_a_model_whose_shapes_do_not_fit_is_refused(tmp_path: Path) -> None:
    onnx.save(model(TensorProto.DOUBLE), tmp_path / "model.onnx")
    with pytest.raises(BuildError, match=r"model\.onnx: not a sound ONNX model"):
        read_onnx(tmp_path / "model.onnx")
    assert load(tmp_path / "model.onnx").graph.node
