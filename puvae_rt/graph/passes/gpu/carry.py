"""Carry the label through the hidden units, so that the decoder's label table costs no kernel of its own.

FC1's table of K rows gets K more columns holding the one-hot label. ReLU and identity rows keep zeros and ones
as they are (in FP16 too), and the decoder's first layer finds the label among its inputs: the table becomes
columns of its weights.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from puvae_rt.graph.graph import Constant, Graph, walk_single
from puvae_rt.graph.passes.patterns import absent

ALIGNMENT = 8  # FP16 matrix kernels want rows of a multiple of 16 bytes


def carry_labels(graph: Graph) -> None:
    """Pass the one-hot label through the hidden layers to the decoder's first one; BuildError without label tables."""
    first, second = _tables(graph)
    rows = graph.value(first.input[1])  # [1,K,M]
    classes = rows.shape[1]
    width = classes + -classes % ALIGNMENT
    onehot = np.eye(classes, width, dtype=rows.dtype)
    chain = _gemms_between(graph, first, second)
    _widen_source(graph, first, width)
    first.input[1] = graph.constant(f"{first.output[0]}.carrying", np.concatenate([rows[0], onehot], 1)[None])
    for gemm in chain[:-1]:
        _pass_through(graph, gemm, width)
    _absorb(graph, chain[-1], second, width)


def _tables(graph: Graph) -> tuple[NodeProto, NodeProto]:
    """The Adds of FC1's and the decoder's label tables."""
    adds = [node for node in graph.of_type("Add") if node.input[1] in graph.constants]
    adds = [node for node in adds if graph.constants[node.input[1]].ndim == 3]
    if len(adds) != 2:
        raise absent("carry_labels", "pair of label tables (FC1's and the decoder's)")
    unsqueezed = [node for node in adds if graph.producer(node.input[0]).op_type == "Unsqueeze"]  # type: ignore[union-attr]
    if len(unsqueezed) != 1:
        raise absent("carry_labels", "label table added to the hoisted features")
    first = unsqueezed[0]
    return first, next(node for node in adds if node is not first)


def _gemms_between(graph: Graph, first: NodeProto, second: NodeProto) -> list[NodeProto]:
    gemms: list[NodeProto] = []
    for node in walk_single(graph, first.output[0]):
        if node is second:
            return gemms
        if node.op_type == "Gemm":
            gemms.append(node)
        elif node.op_type not in ("Relu", "Reshape"):
            break
    raise absent("carry_labels", "chain of Gemm and Relu between the two label tables")


def _widen_source(graph: Graph, first: NodeProto, width: int) -> None:
    """Zero rows in FC1, to which the table's one-hot columns are added, and its new width in the Reshape."""
    single = graph.producer(first.input[0])
    gemm = graph.producer(single.input[0]) if single is not None else None
    if gemm is None or gemm.op_type != "Gemm" or len(gemm.input) != 2:
        raise absent("carry_labels", "Gemm without bias under FC1's label table")
    matrix = graph.value(gemm.input[1])
    gemm.input[1] = graph.constant(f"{gemm.output[0]}.widened", np.pad(matrix, ((0, width), (0, 0))))
    reshape = graph.only_consumer(first.output[0])
    reshape.input[1] = graph.ints(f"{reshape.output[0]}.widened.shape", (-1, len(matrix) + width))


def _pass_through(graph: Graph, gemm: NodeProto, width: int) -> None:
    """W -> [[W, 0], [0, I]], b -> [b; 0]."""
    name, matrix = gemm.output[0], graph.value(gemm.input[1])
    outputs, inputs = matrix.shape
    wider: Constant = np.zeros((outputs + width, inputs + width), matrix.dtype)
    wider[:outputs, :inputs] = matrix
    wider[outputs:, inputs:] = np.eye(width)
    gemm.input[1] = graph.constant(f"{name}.carrying.weight", wider)
    if len(gemm.input) > 2:
        gemm.input[2] = graph.constant(f"{name}.carrying.bias", np.pad(graph.value(gemm.input[2]), (0, width)))


def _absorb(graph: Graph, gemm: NodeProto, table: NodeProto, width: int) -> None:
    """The decoder's table as columns of its Gemm, whose result takes the place of the Add's."""
    rows = graph.value(table.input[1])[0]  # [K,M]
    columns = np.pad(rows.T, ((0, 0), (0, width - len(rows))))
    matrix = np.concatenate([graph.value(gemm.input[1]), columns], axis=1)
    spread, flat = graph.only_consumer(gemm.output[0]), graph.only_consumer(table.output[0])
    graph.remove(gemm, spread, table, flat)
    parameters = [graph.constant(f"{gemm.output[0]}.absorbed", matrix), *gemm.input[2:]]
    graph.op("Gemm", [gemm.input[0], *parameters], flat.output[0], transB=1)
