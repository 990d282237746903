"""Classifiers as ONNX files for the tests, written node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class OnnxChain:
    """An ONNX file in the making: `image` -> ... -> `logits`."""

    def __init__(self, image: tuple[int, int, int]) -> None:
        self.image, self.at = image, "image"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def then(self, op: str, *weights: NDArray[Any], output: str = "", **attributes: Any) -> OnnxChain:
        names = [f"w{len(self.weights) + i}" for i in range(len(weights))]
        self.weights += [numpy_helper.from_array(w, n) for n, w in zip(names, weights, strict=True)]
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.at, *names], [output], name=output, **attributes))
        self.at = output
        return self

    def casting(self) -> OnnxChain:
        """Its FP16 weights cast to FP32 where they are read."""
        for weight in self.weights:
            if weight.data_type == TensorProto.FLOAT16:
                for node in self.nodes:
                    node.input[:] = [f"{weight.name}.fp32" if name == weight.name else name for name in node.input]
                self.nodes.insert(0, helper.make_node("Cast", [weight.name], [f"{weight.name}.fp32"], to=1))
        return self

    def model(self, classes: int, output: str = "logits") -> onnx.ModelProto:
        self.then("Identity" if not self.nodes else "Reshape", np.array([-1, classes]), output=output)
        graph = helper.make_graph(
            self.nodes,
            "classifier",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *self.image])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", classes])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def from_torch(layers: Any, image: tuple[int, int, int], classes: int, path: Path) -> Path:
    """The ONNX file of a torch Sequential of Conv2d, ReLU, Dropout, Flatten and Linear, without dropout."""
    chain = OnnxChain(image)
    for layer in layers:
        weights = [p.detach().numpy() for p in layer.parameters()]
        match type(layer).__name__:
            case "Conv2d":
                (pad, _), (stride, _) = layer.padding, layer.stride
                chain.then("Conv", *weights, pads=[pad] * 4, strides=[stride] * 2)
            case "ReLU":
                chain.then("Relu")
            case "Flatten":
                chain.then("Flatten")
            case "Linear":
                chain.then("Gemm", *weights, transB=1)
    onnx.save(chain.model(classes), str(path))
    return path
