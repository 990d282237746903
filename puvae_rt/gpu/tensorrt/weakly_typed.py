"""TensorRT 8.5 and 8.6, whose networks are not strongly typed: each layer is told its precision, and the builder obeys.

The precisions are those of the ONNX file, as for later releases. That they came out is attested from the engine
inspector's list all the same, and what is not as asked fails the build (`export.layers.check_precision`).
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from puvae_rt.errors import BuildError

OPSET = 17  # the latest that their parsers read
# Operators of opset 18 and later whose older form is the same for what the newer one says here.
ALIKE = (
    *("Cast", "Constant", "Flatten", "Identity", "Pad", "Reshape"),
    *("Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"),
)
UNTYPED_LAYERS = ("CONSTANT", "SHAPE", "IDENTITY")  # computed on the host, or a cast that has its type already


def serves(trt: Any) -> bool:
    """Whether a release builds its networks this way."""
    return not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def creation_flags(trt: Any) -> int:
    """Of a network whose batch is an axis like the others."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def readable(model: bytes) -> bytes:
    """The model in OPSET, its weights in the type that they are used in; BuildError names what has no such form."""
    proto = onnx.load_model_from_string(model)
    default = next(entry for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    folded = _fold_casts(proto)
    if default.version <= OPSET:
        return bytes(proto.SerializeToString()) if folded else model
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    changed = [node for node in proto.graph.node if _since(node.op_type, default.version) > OPSET]
    for node in changed:
        if node.op_type.startswith("Reduce"):
            _axes_to_attribute(node, constants)
        elif node.op_type == "Split":
            _drop(node, "num_outputs")  # as many as it has, of one size, is what it means without
        elif node.op_type not in ALIKE:
            raise _no_older_form(node, default.version, "it has changed since")
    default.version = OPSET
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise BuildError(
            f"model of opset {default.version}: {str(error).splitlines()[0]}; export it in opset {OPSET}"
        ) from error
    return bytes(proto.SerializeToString())


def constrain(trt: Any, network: Any, config: Any, model: bytes) -> None:
    """Gives every layer the types that the ONNX model gives its outputs.

    Args:
        trt: the library.
        network: what its parser made of the model.
        config: of the build.
        model: as `readable` gave it.
    """
    types = _types(onnx.load_model_from_string(model))
    kinds = {TensorProto.FLOAT16: trt.DataType.HALF, TensorProto.FLOAT: trt.DataType.FLOAT}
    _forbid_outside_libraries(trt, config)
    if TensorProto.FLOAT16 not in types.values():
        return  # without the flag nothing is narrower than FP32
    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        found = {i: kinds.get(_type_of(layer, i, types)) for i in range(layer.num_outputs)}
        wanted = {i: kind for i, kind in found.items() if kind is not None}  # not of integers
        if layer.type.name in UNTYPED_LAYERS or not wanted:
            continue
        layer.precision = next(iter(wanted.values()))
        for i, kind in wanted.items():
            layer.set_output_type(i, kind)
    for index in range(network.num_outputs):
        output = network.get_output(index)
        output.dtype = kinds.get(types[output.name], output.dtype)


def _forbid_outside_libraries(trt: Any, config: Any) -> None:
    """No cuBLAS and cuDNN: what they allocate while they run, a CUDA graph cannot hold, and they need not be there."""
    config.set_preview_feature(trt.PreviewFeature.DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805, True)


def _type_of(layer: Any, index: int, types: dict[str, int]) -> int | None:
    """Of an output of a layer, by its tensor's name in the model; else that of the operator it is a part of."""
    name = layer.get_output(index).name
    if name in types:
        return types[name]
    owners = [key for key in types if key.startswith(_OF_NODE) and _part_of(layer.name, key[len(_OF_NODE) :])]
    return types[max(owners, key=len)] if owners else None


_OF_NODE = "node\0"  # before a node's name, in the table of types


def _part_of(name: str, node: str) -> bool:
    return bool(node) and (name == node or name.startswith((f"{node}_", f"{node} ")))


def _types(model: ModelProto) -> dict[str, int]:
    """Element type of each tensor, and of each node's first output behind its name."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {f"{_OF_NODE}{node.name}": types[node.output[0]] for node in graph.node if node.output[0] in types}


def _since(operator: str, opset: int) -> int:
    try:
        return int(onnx.defs.get_schema(operator, opset).since_version)
    except onnx.defs.SchemaError:
        return 0  # of another domain: the parser says what it thinks of it


def _fold_casts(proto: ModelProto) -> int:
    """Stores weights in the type that they are cast to, and says how many: FP16 is no type without its flag."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    casts = [node for node in proto.graph.node if node.op_type == "Cast" and node.input[0] in constants]
    for node in casts:
        kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
        value = numpy_helper.to_array(constants[node.input[0]]).astype(kind)
        proto.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        proto.graph.node.remove(node)
    used = {name for node in proto.graph.node for name in node.input}
    for name in {node.input[0] for node in casts} - used:
        proto.graph.initializer.remove(constants[name])
    return len(casts)


def _axes_to_attribute(node: NodeProto, constants: dict[str, TensorProto]) -> None:
    """Opset 18 made the axes of a reduction an input (of ReduceSum in 13, which is no change here)."""
    if len(node.input) < 2 or not node.input[1]:
        return
    if node.input[1] not in constants:
        raise _no_older_form(node, OPSET + 1, "its axes are computed")
    axes = [int(axis) for axis in numpy_helper.to_array(constants[node.input[1]]).ravel()]
    del node.input[1]
    node.attribute.append(helper.make_attribute("axes", axes))


def _drop(node: NodeProto, name: str) -> None:
    kept: list[AttributeProto] = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _no_older_form(node: NodeProto, opset: int, why: str) -> BuildError:
    return BuildError(
        f"{node.op_type} {node.name!r} of opset {opset} has no form of opset {OPSET}, which TensorRT 8 reads: {why}; "
        f"export the model in opset {OPSET}, or build with TensorRT 10"
    )
