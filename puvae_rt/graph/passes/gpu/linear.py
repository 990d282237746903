"""Fully connected layers: two without a nonlinearity between them are one; K rows of bias are one wider layer."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from puvae_rt.graph.graph import Constant, Graph
from puvae_rt.graph.passes.patterns import absent

MAX_MERGED_BYTES = 4 << 20  # in FP32; FC1's product would be 103 MB
MAX_TILED_BYTES = 8 << 20  # in FP32: beyond it, reading the repeated weights costs more than a launch


def merge_linear(graph: Graph) -> None:
    """D (M h + b) = (D M) h + D b, where D M is small: FC3 and the decoder's first layer; a factored FC2."""
    for outer in graph.of_type("Gemm"):
        inner = graph.producer(outer.input[0])
        if inner is not None and inner.op_type == "Gemm" and len(graph.consumers(inner.output[0])) == 1:
            _merge(graph, inner, outer)


def _merge(graph: Graph, inner: NodeProto, outer: NodeProto) -> None:
    left, right = graph.value(outer.input[1]), graph.value(inner.input[1])
    if len(left) * right.shape[1] * left.itemsize > MAX_MERGED_BYTES:
        return
    name = outer.output[0]
    bias = _bias(graph, outer) + left @ _bias(graph, inner)
    merged = [graph.constant(f"{name}.merged.weight", left @ right), graph.constant(f"{name}.merged.bias", bias)]
    graph.remove(inner, outer)
    graph.op("Gemm", [inner.input[0], *merged], name, transB=1)


def tile_classes(graph: Graph) -> None:
    """relu(W v + row_k) for all k as one layer of K * M outputs: the weights repeated, the rows as its bias."""
    add = next((node for node in graph.of_type("Add") if node.input[1] in graph.constants), None)
    single = graph.producer(add.input[0]) if add is not None else None
    gemm = graph.producer(single.input[0]) if single is not None and single.op_type == "Unsqueeze" else None
    if add is None or single is None or gemm is None or gemm.op_type != "Gemm" or len(gemm.input) != 2:
        raise absent("tile_classes", "Gemm, Unsqueeze, Add of a table of K rows")
    matrix, rows = graph.value(gemm.input[1]), graph.value(add.input[1])[0]  # [M,V], [K,M]
    if matrix.nbytes * len(rows) > MAX_TILED_BYTES:
        return
    reshape = graph.only_consumer(add.output[0])
    relu = graph.only_consumer(reshape.output[0])
    graph.remove(gemm, single, add, reshape, relu)
    name = gemm.output[0]
    weights = graph.constant(f"{name}.tiled.weight", np.tile(matrix, (len(rows), 1)))  # [K*M,V]
    bias = graph.constant(f"{name}.tiled.bias", rows.reshape(-1))
    hidden = graph.op("Gemm", [gemm.input[0], weights, bias], f"{name}.tiled", transB=1)  # [N,K*M]
    active = graph.op("Relu", [hidden], f"{name}.active")
    graph.reshape(active, (-1, rows.shape[1]), relu.output[0])  # [N*K,M]


def _bias(graph: Graph, gemm: NodeProto) -> Constant:
    """Zeros where there is none."""
    return graph.value(gemm.input[2]) if len(gemm.input) > 2 else np.zeros(len(graph.value(gemm.input[1])), np.float32)
