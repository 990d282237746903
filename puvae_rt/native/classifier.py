"""A classifier's ONNX file as libpuvae's layers, where it is one of A to D, or built of what they are built of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from puvae_rt.contract import IMAGE, LOGITS
from puvae_rt.errors import BuildError
from puvae_rt.models.checkpoint import Array
from puvae_rt.models.spec import CONTRAST_EPSILON
from puvae_rt.native.engine_file import Kind, Layer, NativeClassifier, Part


class ForeignClassifierError(BuildError):
    """A classifier that libpuvae cannot run: the sentence says what is in the way."""


def native_classifier(model: ModelProto) -> NativeClassifier:
    """The layers of a classifier: contrast normalized or not, convolutions with ReLU, linear layers.

    Raises:
        ForeignClassifierError: anything else.
    """
    chain = _Chain(model)
    normalized = chain.takes("InstanceNormalization")
    if normalized is not None:
        _check_contrast(normalized, chain)
    layers = [*_convolutions(chain), *_linears(chain)]
    if chain.at != LOGITS:
        raise _foreign(f"{chain.next_kind()} behind {len(layers)} layers")
    return NativeClassifier(tuple(layers), normalized is not None)


class _Chain:
    """The graph's nodes one behind another, from `image` on; each has to be the only reader of the one before."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.constants: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.nodes = []
        for node in graph.node:
            if node.op_type == "Cast" and node.input[0] in self.constants:  # weights stored in FP16
                self.constants[node.output[0]] = self.constants[node.input[0]]
            else:
                self.nodes.append(node)
        self.at = IMAGE

    def next(self) -> NodeProto | None:
        """The node that reads what was reached; None at an end or a fork."""
        readers = [node for node in self.nodes if self.at in node.input]
        return readers[0] if len(readers) == 1 and readers[0].input[0] == self.at else None

    def next_kind(self) -> str:
        """The next node in words."""
        node = self.next()
        return "a fork or an end" if node is None else node.op_type

    def takes(self, kind: str) -> NodeProto | None:
        """The next node, gone past, when it is of this kind."""
        node = self.next()
        if node is None or node.op_type != kind or node.domain:
            return None
        self.at = node.output[0]
        return node

    def parameter(self, node: NodeProto, place: int) -> Array | None:
        """A constant input in FP32; None where the node has no such input."""
        if place >= len(node.input) or not node.input[place]:
            return None
        if node.input[place] not in self.constants:
            raise _foreign(f"{node.op_type} whose input {place} is computed")
        return np.asarray(self.constants[node.input[place]], np.float32)


def _convolutions(chain: _Chain) -> Iterator[Layer]:
    while (node := chain.takes("Conv")) is not None:
        weight = chain.parameter(node, 1)
        assert weight is not None  # ONNX's checker asks for it
        given = _attributes(node)
        sides, stride = weight.shape[2:], given.get("strides", [1, 1])
        same = [side // 2 for side in sides] * 2
        plain = given.get("dilations", [1, 1]) == [1, 1] and given.get("group", 1) == 1
        square = len(sides) == 2 and all(side % 2 for side in sides) and stride in ([1, 1], [2, 2])
        if not (plain and square and given.get("auto_pad", b"NOTSET") == b"NOTSET" and given.get("pads") == same):
            raise _foreign(f"Conv {node.name!r} without 'same' padding, or with groups or dilation")
        relu = chain.takes("Relu") is not None
        yield Layer(Part.CLASSIFIER, Kind.CONVOLUTION, weight, chain.parameter(node, 2), relu, int(stride[0]))


def _linears(chain: _Chain) -> Iterator[Layer]:
    flatten = chain.takes("Flatten")
    if flatten is None or _attributes(flatten).get("axis", 1) != 1:
        raise _foreign(f"{chain.next_kind()} where a Flatten is expected")
    while (node := chain.takes("Gemm")) is not None:
        weight, given = chain.parameter(node, 1), _attributes(node)
        assert weight is not None
        if any(given.get(key, usual) != usual for key, usual in (("alpha", 1.0), ("beta", 1.0), ("transA", 0))):
            raise _foreign(f"Gemm {node.name!r} with factors")
        matrix = weight if given.get("transB", 0) else weight.T
        bias = chain.parameter(node, 2)
        if bias is not None and bias.shape != matrix.shape[:1]:
            raise _foreign(f"Gemm {node.name!r} whose bias is broadcast")
        yield Layer(Part.CLASSIFIER, Kind.LINEAR, matrix, bias, chain.takes("Relu") is not None)


def _check_contrast(node: NodeProto, chain: _Chain) -> None:
    scale, shift = chain.parameter(node, 1), chain.parameter(node, 2)
    usual = np.isclose(_attributes(node).get("epsilon", 1e-5), CONTRAST_EPSILON)
    if scale is None or shift is None or not (usual and (scale == 1).all() and (shift == 0).all()):
        raise _foreign("InstanceNormalization that is not our contrast")


def _attributes(node: NodeProto) -> Mapping[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _foreign(got: str) -> ForeignClassifierError:
    return ForeignClassifierError(
        f"a classifier with {got}, expected convolutions with 'same' padding, ReLU, Flatten and Gemm as in A to D: "
        "libpuvae ends at the purified image and its class, and ONNX Runtime runs the classifier behind it"
    )
