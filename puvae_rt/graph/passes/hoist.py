"""Hoist the class-independent part: W1 [T(x); onehot(k)] = W1a T(x) + W1b[:,k], so T and W1a run once per image."""

from __future__ import annotations

from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Graph, walk_single
from puvae_rt.graph.passes.patterns import (
    Replication,
    absent,
    labelled_gemms,
    replication_ending,
    split_labelled_gemm,
)
from puvae_rt.graph.reference import replicate

PER_SAMPLE = {"Conv", "Relu", "Flatten", "Gemm"}  # each image's result depends on that image alone


def hoist(graph: Graph) -> None:
    """Splits FC1 at its Concat and sinks the K-fold replication of the image below the image's half."""
    copies = _image_copies(graph)
    chain = []
    for node in walk_single(graph, copies.reshape.output[0]):
        if node.op_type == "Concat":
            break
        if node.op_type not in PER_SAMPLE or any(name not in graph.constants for name in node.input[1:]):
            raise BuildError(f"pass hoist: {node.op_type} {node.name!r} between the copies and FC1, not per image")
        chain.append(node)
    values = chain[-1].output[0] if chain else ""
    fc1 = next((found for found in labelled_gemms(graph) if found.values == values), None)
    if fc1 is None:
        raise absent("hoist", "Gemm over the Concat of the image's features and one-hot labels")
    chain[0].input[0] = copies.unsqueeze.input[0]
    _sink(graph, split_labelled_gemm(graph, fc1), copies.classes)


def _image_copies(graph: Graph) -> Replication:
    for node in graph.of_type("Reshape"):
        copies = replication_ending(graph, node.output[0])
        if copies is not None and [reader.op_type for reader in graph.consumers(node.output[0])] == ["Conv"]:
            return copies
    raise absent("hoist", "K-fold replication of the image")


def _sink(graph: Graph, features: str, classes: int) -> None:
    """Makes the K copies of the features, [N,M] -> [N*K,M], for their one reader."""
    reader = graph.only_consumer(features)
    width = graph.value(graph.producer(features).input[1]).shape[0]  # type: ignore[union-attr]
    copies = replicate(graph, features, classes, (width,), f"{features}.copies")
    reader.input[list(reader.input).index(features)] = copies
