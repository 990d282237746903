"""ONNX files of ours come back as they were written; others are refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from puvae_rt.contract import Score
from puvae_rt.errors import BuildError
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.onnx_file import read_puvae, write_onnx
from puvae_rt.graph.passes import apply, exact_passes
from puvae_rt.graph.passes.cpu import CPU
from puvae_rt.graph.reference import straightforward
from puvae_rt.models.weights import Weights
from tests.export.toy import feeds, random_weights, run

SCORE = Score(tau=0.2)


@cache
def made() -> tuple[Weights, Graph, Description]:
    weights = random_weights(score=SCORE)
    passes = exact_passes(SCORE, 0.1)
    graph = apply(straightforward(weights, 0.1, dense=False), passes)
    return weights, graph, Description("toy", weights.classes, weights.contract, SCORE, 0.1, passes)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "puvae.onnx"
    _, graph, description = made()
    write_onnx(path, graph, description)
    return path


def test_round_trip(written: Path) -> None:
    weights, graph, description = made()
    got, got_description = read_puvae(written)
    assert got_description == description
    given = feeds(weights, 2, sigma=0.1)
    for name, value in run(graph, given).items():
        np.testing.assert_array_equal(run(got, given)[name], value)


def test_the_same_graph_is_written_byte_for_byte(written: Path, tmp_path: Path) -> None:
    _, graph, description = made()
    write_onnx(tmp_path / "again.onnx", graph, description)
    assert (tmp_path / "again.onnx").read_bytes() == written.read_bytes()


def edit_description(**changes: object) -> Callable[[ModelProto], None]:
    def edit(model: ModelProto) -> None:
        document = json.loads(model.metadata_props[0].value) | changes
        model.metadata_props[0].value = json.dumps(document)

    return edit


def external_weights(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def custom_operator(model: ModelProto) -> None:
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def subgraph(model: ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", body))


def older_operators(model: ModelProto) -> None:
    model.opset_import[0].version = 17


def renamed_output(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["purified"], ["other"]))
    model.graph.output[0].name = "other"


def integer_image(model: ModelProto) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 28, 28])
    model.graph.input[0].CopyFrom(image)


def no_description(model: ModelProto) -> None:
    del model.metadata_props[:]


EDITS = {
    "no-description": (no_description, r"no 'puvae' metadata"),
    "other-format": (edit_description(format=7), r"format 7, this version reads 1"),
    "unknown-pass": (edit_description(passes=["hoist"]), r"passes \('hoist',\), expected none or"),
    "nested-too-deep": (edit_description(score=[[[]]]), r"score: got a list of 1, expected an object"),
    "other-classes": (edit_description(classes=["a", "b"]), r"tensors .*, expected"),
    "no-sampling": (edit_description(sigma=0), r"expected none or|tensors"),
    "too-long-a-shortlist": (edit_description(shortlist=4), r"shortlist=4: expected 2 to 3 classes"),
    "shortlist-of-one": (edit_description(shortlist=1), r"shortlist: got 1, expected an integer from 2 to 1000"),
    "a-pass-without-a-shortlist": (
        edit_description(passes=[*exact_passes(SCORE, 0.1), "shortlist", *CPU]),
        r"passes \(.*'shortlist', .*\), expected none or",
    ),
    "external-data": (external_weights, r"keeps its weights in /etc/passwd"),
    "custom-operator": (custom_operator, r"is custom or holds a graph"),
    "subgraph": (subgraph, r"is custom or holds a graph"),
    "operator-set": (older_operators, r"operator sets .*, expected 18"),
    "renamed-output": (renamed_output, r"tensors other .*, expected purified"),
    "other-image": (integer_image, r"not a sound ONNX model|tensors image"),
}


@pytest.mark.parametrize("edit, message", EDITS.values(), ids=EDITS)
def test_a_file_that_is_not_ours_is_refused(
    written: Path, tmp_path: Path, edit: Callable[[ModelProto], None], message: str
) -> None:
    model = onnx.load(str(written))
    edit(model)
    path = tmp_path / "edited.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BuildError, match=message) as caught:
        read_puvae(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 1000, -1000, -1])
def test_a_truncated_file_is_refused(written: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(written.read_bytes()[:keep])
    with pytest.raises(BuildError, match=r"cut.onnx: "):
        read_puvae(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"absent.onnx: .*No such file"):
        read_puvae(tmp_path / "absent.onnx")
