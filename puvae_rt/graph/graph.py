"""A small mutable view of an ONNX graph: what the emitter and the passes need to build and rewrite one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from puvae_rt.errors import BuildError

OPSET = 18  # axes of every Reduce are inputs; read by ONNX Runtime 1.18+ and TensorRT 10.3+
IR_VERSION = 8
BATCH = "N"  # the free dimension of every input and output
PRODUCER = "puvae_rt"

Constant = npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """A graph input or output; a text in `shape` is a free dimension."""

    name: str
    dtype: npt.DTypeLike
    shape: tuple[int | str, ...]


class Graph:
    """Nodes in any order (sorted when written), constants by name, inputs and outputs.

    Attributes:
        kept: tensors that `prune` keeps although no output depends on them, for a pass that is to come.
    """

    def __init__(self, inputs: Sequence[Tensor] = (), outputs: Sequence[Tensor] = ()) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Constant] = {}
        self.kept: tuple[str, ...] = ()

    # Building

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Store `value` under `name`, or under the first free `name_2`, `name_3`, ...; returns the name."""
        taken = self.constants.keys() | {output for node in self.nodes for output in node.output}
        free = name
        count = 1
        while free in taken:
            count += 1
            free = f"{name}_{count}"
        self.constants[free] = np.ascontiguousarray(value, dtype)
        return free

    def ints(self, name: str, value: npt.ArrayLike) -> str:
        """Store a shape or a list of axes as a constant; returns its name."""
        return self.constant(name, value, np.int64)

    def op(self, kind: str, inputs: Sequence[str], output: str | Sequence[str], **attributes: Any) -> str:
        """Add a node named after its (first) output; returns that output."""
        outputs = [output] if isinstance(output, str) else list(output)
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def reshape(self, tensor: str, shape: Sequence[int], output: str) -> str:
        """Add a Reshape of `tensor` to a constant `shape`; returns its output."""
        return self.op("Reshape", [tensor, self.ints(f"{output}.shape", shape)], output)

    # Looking

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that makes `tensor`; None for an input, a constant or an unknown name."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def consumers(self, tensor: str) -> list[NodeProto]:
        """The nodes that read `tensor`, in the order in which they were added."""
        return [node for node in self.nodes if tensor in node.input]

    def only_consumer(self, tensor: str) -> NodeProto:
        """The one node that reads `tensor`; BuildError when there are none or several."""
        consumers = self.consumers(tensor)
        if len(consumers) != 1:
            raise BuildError(f"tensor {tensor!r}: {len(consumers)} readers, the pass expects exactly one")
        return consumers[0]

    def of_type(self, kind: str) -> list[NodeProto]:
        """The nodes of an operator, in the order in which they were added."""
        return [node for node in self.nodes if node.op_type == kind]

    def value(self, tensor: str) -> Constant:
        """The value of the constant `tensor`; BuildError when it is computed."""
        if tensor not in self.constants:
            raise BuildError(f"tensor {tensor!r}: computed, the pass expects a constant")
        return self.constants[tensor]

    def input_shape(self, name: str) -> tuple[int | str, ...]:
        """The shape of an input; a text is a free dimension."""
        return next(tensor.shape for tensor in self.inputs if tensor.name == name)

    # Rewriting

    def rename(self, tensor: str, name: str) -> str:
        """Give a computed tensor another name, for its readers too; returns the name."""
        for node in self.nodes:
            node.input[:] = [name if given == tensor else given for given in node.input]
            node.output[:] = [name if given == tensor else given for given in node.output]
            node.name = name if node.name == tensor else node.name
        return name

    def remove(self, *nodes: NodeProto) -> None:
        """Take nodes out; their outputs are free to be made by others."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def live(self) -> list[NodeProto]:
        """The nodes that an output or `kept` depends on, in topological order (depth first from the outputs)."""
        producers = {output: node for node in self.nodes for output in node.output}
        known = {tensor.name for tensor in self.inputs} | self.constants.keys() | {""}
        order: list[NodeProto] = []
        wanted = (*(tensor.name for tensor in self.outputs), *self.kept)
        stack = [(producers[name], False) for name in reversed(wanted) if name in producers]
        while stack:
            node, visited = stack.pop()
            if visited:
                known.update(node.output)
                order.append(node)
            elif node.output[0] not in known:
                stack.append((node, True))
                stack += [(producers[name], False) for name in reversed(node.input) if name not in known]
        return list({id(node): node for node in order}.values())

    def prune(self) -> None:
        """Drops nodes and constants that no output depends on; sorts the rest."""
        self.nodes = self.live()
        used = {name for node in self.nodes for name in node.input}
        self.constants = {name: value for name, value in self.constants.items() if name in used}

    def copy(self) -> Graph:
        """A graph with nodes of its own; the constants' arrays are shared, as passes never write into them."""
        twin = Graph(self.inputs, self.outputs)
        twin.nodes = [_clone(node) for node in self.nodes]
        twin.constants, twin.kept = dict(self.constants), self.kept
        return twin

    # Files

    def to_model(self, metadata: Mapping[str, str] | None = None) -> ModelProto:
        """A checked ModelProto, its nodes sorted; dead ones stay (a straightforward graph has some)."""
        live = self.live()
        dead = [node for node in self.nodes if all(node is not other for other in live)]
        graph = helper.make_graph(
            live + dead,
            "puvae",
            [_value_info(tensor) for tensor in self.inputs],
            [_value_info(tensor) for tensor in self.outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name=PRODUCER)
        helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model, full_check=True)
        return model

    @staticmethod
    def from_model(model: ModelProto) -> Graph:
        """The view of a checked model (`puvae_rt.graph.onnx_file` checks untrusted ones)."""
        constants = {init.name: numpy_helper.to_array(init) for init in model.graph.initializer}
        graph = Graph(
            [_tensor(info) for info in model.graph.input if info.name not in constants],
            [_tensor(info) for info in model.graph.output],
        )
        graph.nodes = [_clone(node) for node in model.graph.node]
        graph.constants = constants
        return graph


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def walk_single(graph: Graph, tensor: str) -> Iterator[NodeProto]:
    """Yield the chain of sole readers from `tensor` on, each through its first output."""
    while len(consumers := graph.consumers(tensor)) == 1:
        yield consumers[0]
        tensor = consumers[0].output[0]


def _clone(node: NodeProto) -> NodeProto:
    twin = NodeProto()
    twin.CopyFrom(node)
    return twin


def _value_info(tensor: Tensor) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, kind, tensor.shape)


def _tensor(info: onnx.ValueInfoProto) -> Tensor:
    kind = info.type.tensor_type
    if kind.elem_type == TensorProto.UNDEFINED or not kind.HasField("shape"):
        raise BuildError(f"tensor {info.name!r}: no type or shape in the ONNX file; export it again")
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim)
    return Tensor(info.name, helper.tensor_dtype_to_np_dtype(kind.elem_type), shape)
