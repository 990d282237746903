"""The exact passes: rewrites of the straightforward graph that change its cost and nothing else.

Each holds in exact arithmetic; in FP32 every candidate stays within `EXACT_TOLERANCE` of the straightforward one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from puvae_rt.contract import Score
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes.dilation import dilation_to_batch
from puvae_rt.graph.passes.hoist import hoist
from puvae_rt.graph.passes.labels import fold_labels
from puvae_rt.graph.passes.sigma import drop_sigma

Pass = Callable[[Graph], None]  # rewrites in place; BuildError when its pattern is absent

HOIST, LABELS, DILATION, SIGMA = "hoist", "fold_labels", "dilation_to_batch", "drop_sigma"
EXACT: dict[str, Pass] = {HOIST: hoist, LABELS: fold_labels, DILATION: dilation_to_batch, SIGMA: drop_sigma}
EXACT_TOLERANCE = 1e-5


def exact_passes(score: Score, sigma_eps: float) -> tuple[str, ...]:
    """Names of the passes that apply, in order; sigma can go only when neither z nor the score needs it."""
    return tuple(name for name in EXACT if name != SIGMA or (sigma_eps == 0 and score.kl_weight == 0))


def apply(graph: Graph, passes: Iterable[str], table: Mapping[str, Pass] = EXACT) -> Graph:
    """A copy of the graph, rewritten by `passes` in their order; `table` says what the names mean."""
    graph = graph.copy()
    for name in passes:
        table[name](graph)
        graph.prune()
    return graph
