"""Drop sigma: when neither the sample nor the score needs it, FC3 computes mu's rows only."""

from __future__ import annotations

from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes.patterns import absent


def drop_sigma(graph: Graph) -> None:
    """Leave out the rows of FC3 that make sigma; BuildError when something needs it."""
    graph.prune()
    split = next((node for node in graph.of_type("Split") if len(node.output) == 2), None)
    gemm = graph.producer(split.input[0]) if split is not None else None
    if split is None or gemm is None or gemm.op_type != "Gemm":
        raise absent("drop_sigma", "Gemm split into mu and sigma")
    mu, raw = split.output
    if graph.consumers(raw):
        raise BuildError("pass drop_sigma: the sample or the score needs sigma; leave this pass out")
    rows = int(graph.value(split.input[1])[0])
    graph.remove(split, gemm)
    parameters = [graph.constant(f"{name}.mu", graph.value(name)[:rows]) for name in gemm.input[1:]]
    graph.op("Gemm", [gemm.input[0], *parameters], mu, transB=1)
