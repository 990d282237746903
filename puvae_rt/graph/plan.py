"""Which passes a model's graph gets for a target, and the graph with them: the one place that decides."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from puvae_rt.errors import BuildError
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes import Pass, apply, exact_passes
from puvae_rt.graph.passes.cpu import CPU as CPU_PASSES
from puvae_rt.graph.passes.shortlist import SHORTLIST, shortlist
from puvae_rt.graph.selection import stop_at_candidates

# Targets whose engine chooses the projection itself; the others' stop at the candidates.
CPU, NATIVE = "cpu", "native"
HOST = (CPU, NATIVE)


def exact(graph: Graph, description: Description) -> tuple[Graph, Description]:
    """The graph after the exact passes, and its description; as they are when it has had them already."""
    if description.passes:
        return graph, description
    passes = exact_passes(description.score, description.sigma)
    return apply(graph, passes), replace(description, passes=passes)


def for_target(graph: Graph, description: Description, target: str) -> tuple[Graph, Description]:
    """The graph that is compiled for a target, and its description. Without the exact passes, none follow, and every
    class is decoded.

    Args:
        graph: image -> purified, label, rmse, score; in FP32.
        description: of `graph`.
        target: "cpu", "native" (whose graph is what runs without libpuvae: the same), "rtx" or "tensorrt".
    Raises:
        BuildError: the graph was made for a CPU, the target is a GPU.
    """
    listing, table = shortlist_pass(description), target_passes(description, target)
    decoded = description.shortlist if description.passes else None
    graph = apply(graph, listing, listing)
    if target not in HOST:
        graph = stop_at_candidates(graph, description.contract, description.score, len(description.classes), decoded)
    graph = apply(graph, table, table)
    graph.kept = ()
    graph.prune()
    return graph, replace(description, passes=(*description.passes, *listing, *table), shortlist=decoded)


def shortlist_pass(description: Description) -> dict[str, Pass]:
    """The pass that leaves out classes, where the model has a shortlist and the graph has not had it."""
    count = description.shortlist
    if count is None or not description.passes or SHORTLIST in description.passes:
        return {}
    return {SHORTLIST: partial(shortlist, count=count)}


def target_passes(description: Description, target: str) -> dict[str, Pass]:
    """The passes that a target's compiler gains by, in order; those that the graph has had are left out."""
    had = [name for name in CPU_PASSES if name in description.passes]
    if target in HOST:
        return {} if had or not description.passes else CPU_PASSES
    if had:
        raise BuildError(
            f"--target {target}: the .onnx was made for the CPU; give the reference.onnx of its bundle, the checkpoint "
            "or a shipped model's name"
        )
    if not description.passes:
        return {}
    from puvae_rt.graph.passes.gpu import GPU, gpu_passes  # a CPU user needs none of them

    return {name: GPU[name] for name in gpu_passes(description.score, description.sigma, description.shortlist)}
