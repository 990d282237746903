"""What a graph costs, counted from its shapes: multiply-adds and weight bytes."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import IR_VERSION, OPSET, Graph, attributes

MAX_SHAPE_CONSTANT = 64  # elements: shapes, axes and counts, whose values the inference needs
Shapes = dict[str, tuple[int, ...]]


def macs_per_image(graph: Graph) -> int:
    """The multiply-adds of the convolutions and matrix products for one image."""
    shapes = _shapes(graph)
    return sum(_RULES[node.op_type](node, shapes) for node in graph.nodes if node.op_type in _RULES)


def weight_bytes(graph: Graph) -> int:
    """The bytes of all constants of a graph."""
    return sum(value.nbytes for value in graph.constants.values())


def _shapes(graph: Graph) -> Shapes:
    """The shape of every tensor at batch 1; the weights enter by their shapes only."""
    small = {name: value for name, value in graph.constants.items() if value.size <= MAX_SHAPE_CONSTANT}
    large = {name: value for name, value in graph.constants.items() if name not in small}
    body = helper.make_graph(
        graph.live(),
        "cost",
        [_value_info(t.name, t.dtype, (1, *t.shape[1:])) for t in graph.inputs]
        + [_value_info(name, value.dtype, value.shape) for name, value in large.items()],
        [helper.make_empty_tensor_value_info(t.name) for t in graph.outputs],
        [numpy_helper.from_array(value, name) for name, value in small.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    shapes = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values}
    if unknown := [name for name, shape in shapes.items() if 0 in shape]:
        raise BuildError(f"tensor {unknown[0]!r}: its shape does not follow from the batch size; export it again")
    return shapes | {name: value.shape for name, value in small.items()}


def _value_info(name: str, dtype: npt.DTypeLike, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def _conv(node: NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _deconv(node: NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    inner = shapes[node.input[0]][0 if attributes(node).get("transA") else -1]
    return prod(shapes[node.output[0]]) * inner


_RULES = {"Conv": _conv, "ConvTranspose": _deconv, "Gemm": _gemm, "MatMul": _gemm}
