"""The gradient of a classifier's loss as an ONNX graph, derived from the classifier's own ONNX file.

The classifier's nodes stay as they are; one backward step for each of them follows, in reverse order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from puvae_rt.contract import IMAGE, LABEL, LOGITS
from puvae_rt.errors import ContractError
from puvae_rt.onnx_io import read_onnx

GRADIENT = "gradient"

Shape = tuple[int, ...]  # 0 stands for a size that is not fixed


def read_classifier(path: Path) -> ModelProto:
    """A checked ONNX model in one file; `ContractError` when it is missing, too large or damaged."""
    return read_onnx(path, remedy="export the classifier again, as one file", error=ContractError)


def gradient_model(classifier: ModelProto) -> ModelProto:
    """The classifier with one more input, `label` [N], and one more output, `gradient` [N,C,H,W].

    `classifier` takes `image` [N,C,H,W] to `logits` [N,K] by Conv, InstanceNormalization, Relu, Flatten, Reshape,
    Gemm, MatMul and Add in one chain, with weights as they are or behind a Cast; anything else raises
    `ContractError`. The gradient is that of the cross-entropy, summed over the batch.
    """
    try:
        model = onnx.shape_inference.infer_shapes(classifier, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise ContractError(f"classifier: its shapes do not fit together ({error})") from error
    graph = model.graph
    tape = _Tape(_shapes(graph), _constants(graph))
    _check_ends(graph, tape.shapes)
    gradient, at = tape.loss_gradient(), LOGITS
    while at != IMAGE:
        node = _producer(graph, at)
        gradient, at = tape.backward(node, gradient), tape.data_input(node)
    tape.emit("Identity", gradient, output=GRADIENT)
    graph.node.extend(tape.nodes)
    image = next(value for value in graph.input if value.name == IMAGE)
    batch = image.type.tensor_type.shape.dim[0].dim_param or None
    graph.input.append(helper.make_tensor_value_info(LABEL, TensorProto.INT64, [batch]))
    graph.output.append(helper.make_tensor_value_info(GRADIENT, TensorProto.FLOAT, [batch, *tape.shapes[IMAGE][1:]]))
    return model


@dataclass
class _Tape:
    """Backward nodes in the making: a rule turns the gradient of a node's output into that of its input."""

    shapes: dict[str, Shape]
    constants: set[str]
    nodes: list[NodeProto] = field(default_factory=list)

    def emit(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"backward/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        return self.emit("Constant", value=onnx.numpy_helper.from_array(value))

    def loss_gradient(self) -> str:
        """d(cross-entropy)/d(logits) = softmax - onehot, [N,K]."""
        depth = self.constant(np.array(self.shapes[LOGITS][1], np.int64))
        off_on = self.constant(np.array([0, 1], np.float32))
        onehot = self.emit("OneHot", LABEL, depth, off_on, axis=1)
        return self.emit("Sub", self.emit("Softmax", LOGITS, axis=1), onehot)

    def data_input(self, node: NodeProto) -> str:
        """The one input that depends on the image."""
        data = [name for name in node.input if name and name not in self.constants]
        if len(data) != 1 or (node.op_type != "Add" and data[0] != node.input[0]):
            raise ContractError(
                f"{node.op_type} {node.name!r} computes with {data}: expected a chain of layers, each with "
                "one input that depends on the image"
            )
        return str(data[0])

    def backward(self, node: NodeProto, gradient: str) -> str:
        if node.op_type not in _RULES:
            raise ContractError(
                f"{node.op_type} {node.name!r}: its gradient is not known; expected one of {sorted(_RULES)}. "
                "Export the classifier from these layers, in evaluation mode"
            )
        return _RULES[node.op_type](self, node, gradient)


def _conv(tape: _Tape, node: NodeProto, gradient: str) -> str:
    """A transposed convolution by the same weights; output padding restores what the stride cut off."""
    given = _attributes(node)
    size, kernel = tape.shapes[node.input[0]][2:], tape.shapes[node.input[1]][2:]
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or len(size) != 2 or 0 in size:
        raise ContractError(f"Conv {node.name!r}: expected two fixed spatial sizes and explicit `pads`")
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    pads = given.get("pads", [0] * 4)
    cut_off = [(size[i] + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1) % strides[i] for i in range(2)]
    return tape.emit(
        "ConvTranspose",
        gradient,
        node.input[1],
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=given.get("group", 1),
        output_padding=cut_off,
    )


def _relu(tape: _Tape, node: NodeProto, gradient: str) -> str:
    zero = tape.constant(np.zeros((), np.float32))
    return tape.emit("Where", tape.emit("Greater", node.output[0], zero), gradient, zero)


def _reshape(tape: _Tape, node: NodeProto, gradient: str) -> str:
    return tape.emit("Reshape", gradient, tape.emit("Shape", node.input[0]))


def _gemm(tape: _Tape, node: NodeProto, gradient: str) -> str:
    """Y = alpha A B + beta C -> dA = alpha dY B^T."""
    given = _attributes(node)
    if given.get("transA", 0) or len(tape.shapes[node.input[0]]) != 2:
        raise ContractError(f"{node.op_type} {node.name!r}: expected a matrix whose rows are images (transA=0)")
    flipped = 1 - given.get("transB", 0)
    return tape.emit("Gemm", gradient, node.input[1], alpha=given.get("alpha", 1.0), transB=flipped)


def _add(tape: _Tape, node: NodeProto, gradient: str) -> str:
    data = tape.shapes[tape.data_input(node)]
    if data != tape.shapes[node.output[0]]:
        raise ContractError(f"Add {node.name!r} widens {data}: expected the bias of a layer")
    return gradient


def _instance_normalization(tape: _Tape, node: NodeProto, gradient: str) -> str:
    """y = scale (x - mean)/sigma + shift over the pixels: dx = (g - mean(g) - n mean(g n))/sigma, g = scale dy and
    n = (x - mean)/sigma."""
    x, scale = node.input[:2]
    if len(tape.shapes[x]) != 4:
        raise ContractError(f"{node.op_type} {node.name!r}: expected images [N,C,H,W]")
    epsilon = tape.constant(np.array(_attributes(node).get("epsilon", 1e-5), np.float32))
    centred = tape.emit("Sub", x, tape.emit("GlobalAveragePool", x))
    variance = tape.emit("GlobalAveragePool", tape.emit("Mul", centred, centred))
    sigma = tape.emit("Sqrt", tape.emit("Add", variance, epsilon))
    n = tape.emit("Div", centred, sigma)
    column = tape.emit("Reshape", scale, tape.constant(np.array([-1, 1, 1], np.int64)))
    g = tape.emit("Mul", gradient, column)
    along = tape.emit("Mul", n, tape.emit("GlobalAveragePool", tape.emit("Mul", g, n)))
    rest = tape.emit("Sub", tape.emit("Sub", g, tape.emit("GlobalAveragePool", g)), along)
    return tape.emit("Div", rest, sigma)


_RULES: dict[str, Callable[[_Tape, NodeProto, str], str]] = {
    "Add": _add,
    "Conv": _conv,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "InstanceNormalization": _instance_normalization,
    "MatMul": _gemm,
    "Relu": _relu,
    "Reshape": _reshape,
}


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _shapes(graph: GraphProto) -> dict[str, Shape]:
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values}
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _constants(graph: GraphProto) -> set[str]:
    """Initializers, constants and what is cast from them: weights stored in half precision."""
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Constant", "Cast") and names.issuperset(node.input):
            names.update(node.output)
    return names


def _check_ends(graph: GraphProto, shapes: dict[str, Shape]) -> None:
    outputs = [value.name for value in graph.output]
    image, logits = shapes.get(IMAGE, ()), shapes.get(LOGITS, ())
    if outputs != [LOGITS] or len(image) != 4 or len(logits) != 2 or 0 in image[1:] + logits[1:]:
        raise ContractError(
            f"classifier with {IMAGE} {image} and outputs {outputs} {logits}: expected {IMAGE} [N,C,H,W] and "
            f"the one output {LOGITS} [N,K], all sizes but N fixed"
        )


def _producer(graph: GraphProto, tensor: str) -> NodeProto:
    """The node that makes `tensor`. A tensor used twice would need its gradients added: no chain has one."""
    uses = sum(list(node.input).count(tensor) for node in graph.node)
    makers = [node for node in graph.node if tensor in node.output]
    if not makers or uses > (tensor != LOGITS):
        raise ContractError(
            f"tensor {tensor!r}: made {len(makers)} times, used {uses} times; expected a chain from {IMAGE}"
        )
    return makers[0]
