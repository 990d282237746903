"""Engine graphs of random weights, as a build for a GPU makes them before their precision."""

from __future__ import annotations

from functools import cache

from puvae_rt.contract import ImageContract, Score
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes import apply, exact_passes
from puvae_rt.graph.passes.gpu import apply_gpu, gpu_passes
from puvae_rt.graph.reference import straightforward
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.models.spec import Ranks
from tests.export.toy import random_weights


@cache
def engine_graph(
    contract: ImageContract, sigma: float = 0.0, kl: float = 0.0, passes: bool = True, normalized: bool = False
) -> Graph:
    weights = random_weights(contract, 10, Ranks(fc1=16, fc2=32), Score(0.1, kl), normalized=normalized)
    graph = stop_at_candidates(straightforward(weights, sigma, dense=False), contract, weights.score, 10)
    if not passes:
        return graph
    exact, gpu = exact_passes(weights.score, sigma), gpu_passes(weights.score, sigma)
    return apply_gpu(apply(graph, exact), gpu)
