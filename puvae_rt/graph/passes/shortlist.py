"""Decode the m classes of every image that its prior ranks first, and no others.

Rows of the label tables are gathered per image, and everything behind them runs on m copies of an image in place of K.
Among classes that the prior finds equally likely the lower index goes first.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto

from puvae_rt.contract import BIAS, CANDIDATES, NOISE
from puvae_rt.graph.graph import Graph, walk_single
from puvae_rt.graph.passes.patterns import absent, label_tables
from puvae_rt.graph.prior import LOG_P
from puvae_rt.graph.selection import LISTED, choose_among

SHORTLIST = "shortlist"


def shortlist(graph: Graph, count: int) -> None:
    """Rewrite a graph that the exact passes have been through, from K classes to the first `count` of the prior's.

    `candidates` become [N,m,C,H,W], `bias` [N,m], and `listed` [N,m] (int64) tells their classes. The outputs keep
    their shapes: see `choose_among`. An input `noise` stays [N,K,32].
    """
    tables = label_tables(graph)
    if len(tables) != 2:
        raise absent(SHORTLIST, "pair of label tables (FC1's and the decoder's)")
    classes = len(tables[0].rows(graph))
    _rank(graph, count)
    for reshape in _reshapes_of_classes(graph, [table.add for table in tables]):
        sides = graph.value(reshape.input[1]).copy()  # (-1, K, ...)
        sides[1] = count
        reshape.input[1] = graph.ints(f"{reshape.output[0]}.listed", sides)
    for table in tables:
        name, values = table.add.output[0], table.rows(graph)
        rows = graph.constant(f"{name}.every", values, values.dtype)  # [K,M]
        table.add.input[1] = graph.op("Gather", [rows, LISTED], f"{name}.listed", axis=0)  # [N,m,M]
    _gather_noise(graph)
    choose_among(graph, classes)
    graph.kept = ()


def _rank(graph: Graph, count: int) -> None:
    """`listed` [N,m], and the log probabilities of those classes for whoever read those of all."""
    if graph.producer(LOG_P) is None:
        raise absent(SHORTLIST, "prior that ranks the classes")
    readers = graph.consumers(LOG_P)
    own = f"{LOG_P}.listed"
    for node in readers:
        node.input[:] = [own if name == LOG_P else name for name in node.input]
    graph.op("TopK", [LOG_P, graph.ints("listed.count", (count,))], [own, LISTED], axis=1, largest=1, sorted=1)


def _reshapes_of_classes(graph: Graph, adds: list[NodeProto]) -> Iterator[NodeProto]:
    """Yield the Reshapes to (-1, K, ...): before the decoder's table, behind its last layer, and of the KL."""
    for add in adds:
        spread = graph.producer(add.input[0])
        if spread is not None and spread.op_type == "Reshape":
            yield spread
    last = next(reversed(graph.of_type("ConvTranspose")), None)
    behind = walk_single(graph, last.output[0]) if last is not None else iter(())
    images = next((node for node in behind if node.op_type == "Reshape"), None)
    if images is None:
        raise absent(SHORTLIST, f"Reshape to {CANDIDATES!r} behind the last transposed convolution")
    yield images
    bias = graph.producer(BIAS)
    parts = [graph.producer(name) for name in bias.input] if bias is not None and bias.op_type == "Add" else [bias]
    yield from (node for node in parts if node is not None and node.op_type == "Reshape")


def _gather_noise(graph: Graph) -> None:
    """noise [N,K,32] -> [N,m,32], where there is any."""
    for node in graph.consumers(NOISE):
        each = graph.op("Unsqueeze", [LISTED, graph.ints("noise.axis", (2,))], "noise.places")  # [N,m,1]
        node.input[0] = graph.op("GatherND", [NOISE, each], "noise.listed", batch_dims=1)
