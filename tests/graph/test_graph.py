from __future__ import annotations

import numpy as np
import pytest

from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Graph, Tensor


def chain() -> Graph:
    graph = Graph([Tensor("image", np.float32, ("N", 2))], [Tensor("end", np.float32, ("N", 2))])
    graph.op("Relu", ["middle"], "end")  # before its producer
    graph.op("Add", ["image", graph.constant("one", [1, 1])], "middle")
    graph.op("Mul", ["image", graph.constant("two", [2, 2])], "dead")
    return graph


def test_nodes_are_sorted_and_dead_ones_dropped() -> None:
    graph = chain()
    graph.prune()
    assert [node.op_type for node in graph.nodes] == ["Add", "Relu"]
    assert graph.constants.keys() == {"one"}


def test_dead_nodes_stay_in_a_file_until_pruned() -> None:
    assert [node.op_type for node in chain().to_model().graph.node] == ["Add", "Relu", "Mul"]


def test_names_of_constants_never_clash() -> None:
    graph = chain()
    assert graph.constant("one", [3]) == "one_2"
    assert graph.constant("middle", [3]) == "middle_2"  # taken by a node's output
    assert graph.constants["one"].tolist() == [1, 1]


def test_a_copy_shares_nothing_that_changes() -> None:
    graph = chain()
    twin = graph.copy()
    twin.nodes[0].input[0] = "image"
    twin.prune()
    twin.constants.clear()
    assert graph.nodes[0].input[0] == "middle"
    assert graph.constants.keys() == {"one", "two"}


def test_model_round_trip() -> None:
    graph = Graph.from_model(chain().to_model({"key": "value"}))
    assert graph.inputs == [Tensor("image", np.float32, ("N", 2))]
    assert {node.output[0] for node in graph.nodes} == {"end", "middle", "dead"}
    np.testing.assert_array_equal(graph.value("two"), [2, 2])


def test_what_a_pass_expects_is_said() -> None:
    graph = chain()
    with pytest.raises(BuildError, match=r"'image': 2 readers, the pass expects exactly one"):
        graph.only_consumer("image")
    with pytest.raises(BuildError, match=r"'middle': computed, the pass expects a constant"):
        graph.value("middle")
