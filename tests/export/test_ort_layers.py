"""Types that follow from the operators where ONNX Runtime saves none."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.ort_layers import from_onnx
from puvae_rt.errors import BuildError

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def test_types_follow_from_the_operators() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["product"], "product"),
        helper.make_node("Cast", ["product"], ["half"], "half", to=HALF),
        helper.make_node("Relu", ["half"], ["kept"], "kept"),
        helper.make_node("IsNaN", ["kept"], ["nan"], "nan"),
        helper.make_node("Where", ["nan", "kept", "zero"], ["mended"], "mended"),
        helper.make_node("Reshape", ["mended", "shape"], ["flat"], "flat"),
        helper.make_node("ArgMin", ["flat"], ["index"], "index"),
        helper.make_node("QuantizeLinear", ["x", "scale", "point"], ["small"], "small"),
        helper.make_node("DequantizeLinear", ["small", "scale", "point"], ["back"], "back"),
    ]
    weights = {
        "w": np.ones((3, 4), np.float32),
        "zero": np.zeros((), np.float16),
        "shape": np.array([-1, 2]),
        "scale": np.array(0.1, np.float32),
        "point": np.array(0, np.int8),
    }
    graph = helper.make_graph(
        nodes,
        "typed",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("flat", HALF, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    layers = {layer.name: layer for layer in from_onnx(helper.make_model(graph))}
    assert {name: layer.precision for name, layer in layers.items()} == {
        "product": "fp32",
        "half": "fp16",
        "kept": "fp16",
        "nan": "bool",
        "mended": "fp16",
        "flat": "fp16",
        "index": "int64",
        "small": "int8",
        "back": "fp32",
    }
    assert [tensor.name for tensor in layers["product"].weights] == ["w"]
    assert layers["flat"].constants == ()  # a shape is not computed with
    assert layers["product"].inputs[0].sides == (-1, 3)


def test_no_layers_attest_nothing() -> None:
    with pytest.raises(BuildError, match="listed no layers"):
        from_onnx(helper.make_model(helper.make_graph([], "empty", [], [])))
