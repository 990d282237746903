"""The graph that ONNX Runtime runs on a CPU, made from a model's weights."""

from __future__ import annotations

from puvae_rt.contract import Score
from puvae_rt.graph import plan
from puvae_rt.graph.description import Description
from puvae_rt.graph.passes import exact_passes
from puvae_rt.graph.passes.cpu import CPU as CPU_PASSES
from puvae_rt.graph.passes.shortlist import SHORTLIST
from puvae_rt.graph.reference import straightforward
from puvae_rt.models.weights import Weights


def cpu_model(weights: Weights) -> bytes:
    """The deterministic FP32 graph after all passes that it gets for a CPU, as a serialized ONNX model.

    image [N,C,H,W] in [0,1] -> purified [N,C,H,W], label [N] int64, rmse [N,K], score [N,K].
    """
    description = Description(
        weights.model, weights.classes, weights.contract, weights.score, 0.0, (), weights.shortlist
    )
    graph, description = plan.exact(straightforward(weights, dense=False), description)
    graph, description = plan.for_target(graph, description, plan.CPU)
    model: bytes = graph.to_model(description.to_metadata()).SerializeToString()
    return model


def cpu_passes(score: Score, shortlist: int | None = None) -> tuple[str, ...]:
    """Names of the passes that `cpu_model` applies, in order; `shortlist` is how many classes are decoded, None all."""
    return (*exact_passes(score, 0.0), *(() if shortlist is None else (SHORTLIST,)), *CPU_PASSES)
