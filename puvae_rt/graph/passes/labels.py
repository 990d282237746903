"""Fold labels into bias tables: W onehot(k) + b is a constant row per class, added by broadcasting."""

from __future__ import annotations

from onnx import NodeProto

from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes.patterns import (
    absent,
    labelled_gemms,
    one_hot_classes,
    replication_ending,
    split_labelled_gemm,
)


def fold_labels(graph: Graph) -> None:
    """Make the labels' columns tables of biases, so that no one-hot label is left at run time."""
    for found in labelled_gemms(graph):
        split_labelled_gemm(graph, found)
    products = [node for node in graph.of_type("MatMul") if one_hot_classes(graph, node.input[0])]
    if not products:
        raise absent("fold_labels", "product of one-hot labels and a constant")
    for product in products:
        _broadcast(graph, product)


def _broadcast(graph: Graph, product: NodeProto) -> None:
    """values [N*K,M] + onehot @ table -> (values [N,K,M] or [N,1,M]) + table [1,K,M], as [N*K,M] again."""
    add = graph.only_consumer(product.output[0])
    if add.op_type != "Add":
        raise absent("fold_labels", f"Add after {product.name!r}, but {add.op_type}")
    name = add.output[0]
    values = next(tensor for tensor in add.input if tensor != product.output[0])
    table = graph.value(product.input[1])  # [K,M]
    graph.remove(product, add)
    copies = replication_ending(graph, values)
    spread = copies.unsqueeze.output[0] if copies else graph.reshape(values, (-1, *table.shape), f"{name}.spread")
    rows = graph.constant(f"{name}.rows", table[None], table.dtype)
    labelled = graph.op("Add", [spread, rows], f"{name}.labelled")  # [N,K,M]
    graph.reshape(labelled, (-1, table.shape[1]), name)
