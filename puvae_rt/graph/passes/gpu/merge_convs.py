"""Two convolutions with nothing between them are one: a factored 7x7 costs a CPU fewer products, but a GPU a launch."""

from __future__ import annotations

from puvae_rt.graph.graph import Graph, attributes
from puvae_rt.models.weights import product


def merge_convolutions(graph: Graph) -> None:
    """A x 1 without bias, then 1 x B -> A x B, both with "same" padding. A graph without such pairs stays as it is."""
    for rows in graph.of_type("Conv"):
        columns = graph.producer(rows.input[0])
        if columns is None or columns.op_type != "Conv" or len(columns.input) != 2:
            continue
        kernel = product(graph.value(columns.input[1]), graph.value(rows.input[1]))
        name, settings = rows.output[0], attributes(rows) | {"kernel_shape": list(kernel.shape[2:])}
        pads = [a + b for a, b in zip(attributes(columns)["pads"], settings["pads"], strict=True)]
        weight = graph.constant(f"{name}.merged.weight", kernel)
        graph.remove(columns, rows)
        graph.op("Conv", [columns.input[0], weight, *rows.input[2:]], name, **settings | {"pads": pads})
