"""The layers of a graph as ONNX Runtime optimized it for a CPU, with the types that they compute in.

ONNX Runtime saves types of the graph's ends and of its weights only. Those in between follow from the operators.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, NodeProto, TensorProto

from export.layers import Listed, ListedLayer, nonempty
from puvae_rt.graph.graph import attributes

_NAMES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64"}
_COMPUTED = {*_NAMES.values(), "int8", "uint8"}  # other constants are shapes, axes and places
_FIXED = dict.fromkeys(("IsNaN", "IsInf", "Equal", "Greater", "Less", "Not", "And", "Or"), "bool")
_FIXED |= dict.fromkeys(("ArgMin", "ArgMax", "Shape", "Size", "NonZero"), "int64")
# Which input has the type of the output, where it is not the first one.
_LIKE = {"Where": 1, "DequantizeLinear": 1, "QuantizeLinear": 2}
_UNKNOWN = "unknown"


def from_onnx(model: ModelProto) -> list[ListedLayer]:
    """One layer for each node, in the order in which they run; BuildError when there are none."""
    graph = model.graph
    weights = {
        tensor.name: Listed(tensor.name, tuple(tensor.dims), _type(tensor.data_type)) for tensor in graph.initializer
    }
    known = dict(weights)
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        sides = tuple(side.dim_value or -1 for side in tensor.shape.dim)
        known[value.name] = Listed(value.name, sides, _type(tensor.elem_type))
    layers = []
    for node in graph.node:
        for name in node.output:
            known.setdefault(name, Listed(name, (), _computed(node, known)))
        inputs = [known.get(name, Listed(name, (), _UNKNOWN)) for name in node.input if name]
        layers.append(
            ListedLayer(
                node.name,
                node.op_type,
                tuple(tensor for tensor in inputs if tensor.name not in weights),
                tuple(tensor for tensor in inputs if tensor.name in weights and tensor.type in _COMPUTED),
                tuple(known[name] for name in node.output if name),
            )
        )
    return nonempty(layers)


def _computed(node: NodeProto, known: Mapping[str, Listed]) -> str:
    """The type of what a node writes."""
    if node.op_type == "Cast":
        return _type(attributes(node)["to"])
    if node.op_type in _FIXED:
        return _FIXED[node.op_type]
    place = _LIKE.get(node.op_type, 0)
    name = node.input[place] if place < len(node.input) else ""
    return known[name].type if name in known else _UNKNOWN


def _type(code: int) -> str:
    """Our name of an ONNX element type."""
    name = str(TensorProto.DataType.Name(code)).lower()
    return _NAMES.get(name, name)
