"""Carry the label through the hidden units, so that the decoder's label table costs no kernel of its own.

FC1's table of K rows gets K more columns holding the one-hot label. ReLU and identity rows keep zeros and ones
as they are (in FP16 too), and the decoder's first layer finds the label among its inputs: the table becomes
columns of its weights.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from puvae_rt.graph.graph import Constant, Graph, walk_single
from puvae_rt.graph.passes.patterns import LabelTable, absent, label_tables

ALIGNMENT = 8  # FP16 matrix kernels want rows of a multiple of 16 bytes


def carry_labels(graph: Graph) -> None:
    """Pass the one-hot label through the hidden layers to the decoder's first one; BuildError without label tables."""
    first, second = _tables(graph)
    rows = first.rows(graph)  # [K,M]
    classes = len(rows)
    width = classes + -classes % ALIGNMENT
    onehot = np.eye(classes, width, dtype=rows.dtype)
    chain = _gemms_between(graph, first.add, second.add)
    _widen_source(graph, first.add, width)
    first.replace(graph, np.concatenate([rows, onehot], axis=1), f"{first.add.output[0]}.carrying")
    for gemm in chain[:-1]:
        _pass_through(graph, gemm, width)
    _absorb(graph, chain[-1], second, width)


def _tables(graph: Graph) -> tuple[LabelTable, LabelTable]:
    """FC1's label table and the decoder's."""
    tables = label_tables(graph)
    if len(tables) != 2:
        raise absent("carry_labels", "pair of label tables (FC1's and the decoder's)")
    unsqueezed = [graph.producer(table.add.input[0]).op_type == "Unsqueeze" for table in tables]  # type: ignore[union-attr]
    if sum(unsqueezed) != 1:
        raise absent("carry_labels", "label table added to the hoisted features")
    return tables[unsqueezed.index(True)], tables[unsqueezed.index(False)]


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


def _absorb(graph: Graph, gemm: NodeProto, table: LabelTable, width: int) -> None:
    """The decoder's table as columns of its Gemm, whose result takes the place of the Add's."""
    rows = table.rows(graph)  # [K,M]
    columns = np.pad(rows.T, ((0, 0), (0, width - len(rows))))
    matrix = np.concatenate([graph.value(gemm.input[1]), columns], axis=1)
    spread, flat = graph.only_consumer(gemm.output[0]), graph.only_consumer(table.add.output[0])
    graph.remove(gemm, spread, table.add, flat)
    parameters = [graph.constant(f"{gemm.output[0]}.absorbed", matrix), *gemm.input[2:]]
    graph.op("Gemm", [gemm.input[0], *parameters], flat.output[0], transB=1)
