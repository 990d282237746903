"""Layers as nodes of a graph, their weights as constants named after them."""

from __future__ import annotations

from puvae_rt.graph.graph import Graph
from puvae_rt.models.checkpoint import Array


def gemm(graph: Graph, tensor: str, matrix: Array, bias: Array | None, name: str) -> str:
    """A fully connected layer: tensor [B,I], matrix [O,I], bias [O] -> `name` [B,O]."""
    return graph.op("Gemm", [tensor, *parameters(graph, matrix, bias, name)], name, transB=1)


def parameters(graph: Graph, weight: Array, bias: Array | None, name: str) -> list[str]:
    """Store `name`.weight and, where there is one, `name`.bias; returns their names."""
    parts = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return [graph.constant(f"{name}.{part}", value) for part, value in parts.items()]
