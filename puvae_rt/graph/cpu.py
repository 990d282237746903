"""The graph that ONNX Runtime runs on a CPU, made from a model's weights or from a graph."""

from __future__ import annotations

from dataclasses import replace

from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes import apply, exact_passes
from puvae_rt.graph.passes.cpu import CPU as CPU_PASSES
from puvae_rt.graph.passes.cpu import apply_cpu
from puvae_rt.graph.reference import straightforward
from puvae_rt.models.weights import Weights


def cpu_model(weights: Weights) -> bytes:
    """The deterministic FP32 graph after the exact passes and those for a CPU, as a serialized ONNX model.

    image [N,C,H,W] in [0,1] -> purified [N,C,H,W], label [N] int64, rmse [N,K], score [N,K].
    """
    passes = exact_passes(weights.score, 0.0)
    plain = straightforward(weights, dense=False)
    description = Description(weights.model, weights.classes, weights.contract, weights.score, 0.0, passes)
    graph, description = for_cpu(apply(plain, passes), description)
    graph.prune()
    model: bytes = graph.to_model(description.to_metadata()).SerializeToString()
    return model


def for_cpu(graph: Graph, description: Description) -> tuple[Graph, Description]:
    """`graph` with the passes for ONNX Runtime, unless they were applied already or none were asked for."""
    if not description.passes or description.passes[-len(CPU_PASSES) :] == tuple(CPU_PASSES):
        return graph, description
    return apply_cpu(graph), replace(description, passes=(*description.passes, *CPU_PASSES))
