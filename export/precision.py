"""The precision of a strongly typed network lives in its ONNX file: FP16 weights, and Cast nodes where types meet.

Convolutions and fully connected layers, which are all of the cost, become FP16 (their kernels accumulate in FP32).
What is small and sensitive stays FP32: sigma = softplus, its logarithm and the KL's sum, where FP16 would round away
small sigmas and overflow; contrast taken away and given back, which divides by small deviations; a prior's log
probabilities and their order. Inputs and `bias` stay FP32, `candidates` are FP16.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from puvae_rt.contract import CANDIDATES, CLASSES, IMAGE
from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Graph, Tensor, attributes

HALF, FULL, INTEGER = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.int64)
HALF_OPS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Clip"}  # Clip makes `candidates` where contrast is given back
FULL_OPS = {"Softplus", "Log", "ReduceSum", "Mul", "Sub", "ReduceMean", "Sqrt", "Div", "LogSoftmax", "TopK"}
# Everything else takes the widest type of its computed inputs; the image, whose levels FP16 holds, counts as FP16.
FOLLOWING_OPS = {
    *("Add", "Cast", "Concat", "Expand", "Flatten", "Gather", "GatherND", "Pad", "Relu", "Reshape"),
    *("Shape", "Sigmoid", "Split", "Transpose", "Unsqueeze"),
}


def to_fp16(graph: Graph) -> Graph:
    """A copy of a graph that ends in candidates, in FP16; BuildError for a weight beyond FP16's range."""
    return _Converter(graph.copy()).converted()


class _Converter:
    """Types tensors in topological order and casts where a reader wants another type."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.source = graph, graph.constants
        self.types = {tensor.name: np.dtype(tensor.dtype) for tensor in graph.inputs}
        self.casts: dict[tuple[str, np.dtype[np.generic]], str] = {}

    def converted(self) -> Graph:
        nodes, graph = self.graph.live(), self.graph
        graph.nodes, graph.constants = [], {}
        for node in nodes:
            wanted = self._compute_type(node)
            node.input[:] = [self._as(name, wanted) for name in node.input]
            self.types.update(zip(node.output, self._output_types(node, wanted), strict=True))
            graph.nodes.append(node)
        graph.outputs = [self._output(tensor) for tensor in graph.outputs]
        return graph

    def _compute_type(self, node: NodeProto) -> np.dtype[np.generic]:
        if node.op_type in HALF_OPS:
            return HALF
        if node.op_type in FULL_OPS:
            return FULL
        if node.op_type not in FOLLOWING_OPS:
            raise BuildError(f"precision fp16: no rule for {node.op_type} {node.name!r}; build it in fp32")
        computed = {self.types[name] for name in node.input if name in self.types and name != IMAGE} & {HALF, FULL}
        return FULL if FULL in computed else HALF

    def _output_types(self, node: NodeProto, wanted: np.dtype[np.generic]) -> list[np.dtype[np.generic]]:
        """Integers come of shapes, of a TopK's places, of a Cast to them, and of integers."""
        if node.op_type == "Cast":
            return [helper.tensor_dtype_to_np_dtype(attributes(node)["to"])]
        if node.op_type == "Shape":
            return [INTEGER]
        if node.op_type == "TopK":
            return [wanted, INTEGER]
        first = self.types.get(node.input[0], wanted)
        return [wanted if first in (HALF, FULL) else first] * len(node.output)

    def _as(self, name: str, wanted: np.dtype[np.generic]) -> str:
        """The tensor in the wanted type: itself, a converted constant, or through a Cast. Integers stay."""
        known = self.source[name].dtype if name in self.source else self.types[name]
        key = (name, wanted if known in (HALF, FULL) else known)
        if key not in self.casts:
            self.casts[key] = self._constant(*key) if name in self.source else self._cast(*key)
        return self.casts[key]

    def _constant(self, name: str, wanted: np.dtype[np.generic]) -> str:
        value = self.source[name]
        if wanted == HALF and np.abs(value).max(initial=0) > np.finfo(np.float16).max:
            largest = float(np.abs(value).max())
            raise BuildError(f"precision fp16: {name} holds {largest:g}, beyond FP16's 65504; build it in fp32")
        return self.graph.constant(name, value, wanted)

    def _cast(self, name: str, wanted: np.dtype[np.generic]) -> str:
        if self.types[name] == wanted:
            return name
        return self.graph.op("Cast", [name], f"{name}.{wanted.name}", to=helper.np_dtype_to_tensor_dtype(wanted))

    def _output(self, tensor: Tensor) -> Tensor:
        """The output's description: `candidates` stay as computed, integers are, anything else is FP32."""
        got = self.types[tensor.name]
        if got != {CANDIDATES: HALF, CLASSES: np.dtype(np.int32)}.get(tensor.name, FULL):
            raise BuildError(f"precision fp16: output {tensor.name!r} came out as {got}; report this graph")
        return Tensor(tensor.name, got, tensor.shape)
