"""What several passes look for, and the one rewrite that two of them share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnx import NodeProto

from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Constant, Graph, attributes


class Replication(NamedTuple):
    """The nodes Unsqueeze, Expand, Reshape that make [N,*shape] into [N*K,*shape]."""

    unsqueeze: NodeProto
    expand: NodeProto
    reshape: NodeProto
    classes: int


def replication_ending(graph: Graph, tensor: str) -> Replication | None:
    """The replication that `tensor` comes out of, if it does."""
    reshape = graph.producer(tensor)
    if reshape is None or reshape.op_type != "Reshape":
        return None
    expand = graph.producer(reshape.input[0])
    if expand is None or expand.op_type != "Expand" or expand.input[1] not in graph.constants:
        return None
    unsqueeze = graph.producer(expand.input[0])
    counts = graph.value(expand.input[1])
    if unsqueeze is None or unsqueeze.op_type != "Unsqueeze" or any(counts[2:] != 1) or counts[0] != 1:
        return None
    return Replication(unsqueeze, expand, reshape, int(counts[1]))


class LabelTable(NamedTuple):
    """K rows of bias for the copies of every image: all of them, or those that a shortlist gathers.

    Attributes:
        add: of the rows, [1,K,M] or [N,m,M], to the copies.
        holder: the node that reads the constant, `add` itself or the Gather before it.
        place: of the constant among the inputs of `holder`.
    """

    add: NodeProto
    holder: NodeProto
    place: int

    def rows(self, graph: Graph) -> Constant:
        """The rows [K,M]."""
        value = graph.value(self.holder.input[self.place])
        return value.reshape(value.shape[-2:])

    def replace(self, graph: Graph, rows: Constant, name: str) -> None:
        """Other rows [K,M'] in their place, stored as `name`."""
        shaped = rows[None] if self.holder is self.add else rows
        self.holder.input[self.place] = graph.constant(name, shaped, rows.dtype)


def label_tables(graph: Graph) -> list[LabelTable]:
    """What `fold_labels` makes: FC1's table and the decoder's, in the order of the graph."""
    found = []
    for add in graph.of_type("Add"):
        holder, place = add, 1
        gather = graph.producer(add.input[1])
        if gather is not None and gather.op_type == "Gather":
            holder, place = gather, 0
        rows = graph.constants.get(holder.input[place])
        if rows is not None and rows.ndim == (3 if holder is add else 2):
            found.append(LabelTable(add, holder, place))
    return found


class LabelledGemm(NamedTuple):
    """A Gemm over values and one-hot labels side by side."""

    gemm: NodeProto
    values: str  # [N*K, V]
    labels: str  # [N*K, K]
    classes: int


def labelled_gemms(graph: Graph) -> list[LabelledGemm]:
    """Every Gemm of the graph that reads values and one-hot labels side by side."""
    found = []
    for gemm in graph.of_type("Gemm"):
        concat = graph.producer(gemm.input[0])
        if concat is None or concat.op_type != "Concat" or len(concat.input) != 2:
            continue
        classes = one_hot_classes(graph, concat.input[1])
        if classes is not None and attributes(gemm) == {"transB": 1}:
            found.append(LabelledGemm(gemm, concat.input[0], concat.input[1], classes))
    return found


def one_hot_classes(graph: Graph, tensor: str) -> int | None:
    """K when `tensor` is the K one-hot labels of every image, [N*K,K]."""
    reshape = graph.producer(tensor)
    expand = graph.producer(reshape.input[0]) if reshape is not None and reshape.op_type == "Reshape" else None
    if expand is None or expand.op_type != "Expand" or expand.input[0] not in graph.constants:
        return None
    eye = graph.constants[expand.input[0]]  # [1,K,K]
    return len(eye[0]) if eye.ndim == 3 and np.array_equal(eye, np.eye(eye.shape[1])[None]) else None


def split_labelled_gemm(graph: Graph, found: LabelledGemm) -> str:
    """W [v; onehot] + b -> Wv v + (Wl onehot + b), the bias on the labels' side; returns the name of Wv v."""
    gemm, name = found.gemm, found.gemm.output[0]
    matrix = graph.value(gemm.input[1])  # [M, V+K]
    bias = graph.value(gemm.input[2]) if len(gemm.input) > 2 else np.zeros(len(matrix), matrix.dtype)
    table = matrix[:, -found.classes :].T + bias  # [K, M]: one-hot rows sum to one, so each gets b once
    graph.remove(gemm)
    left = graph.constant(f"{name}.values.weight", matrix[:, : -found.classes])
    values = graph.op("Gemm", [found.values, left], f"{name}.values", transB=1)
    labels = graph.op("MatMul", [found.labels, graph.constant(f"{name}.table", table)], f"{name}.labels")
    graph.op("Add", [values, labels], name)
    return values


def absent(pass_name: str, pattern: str) -> BuildError:
    """The error of a pass whose pattern is not in the graph."""
    return BuildError(f"pass {pass_name}: found no {pattern}; give a graph from `--passes none`, or a model's weights")
