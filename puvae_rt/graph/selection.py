"""The end of a CPU graph: scores of the candidates and the choice among them, in ONNX.

Lowest index on a tie; a NaN score never wins (an infinite one beats it); when all are NaN, `label` is -1 and
`purified` is NaN everywhere, so that a caller who overlooks the label cannot mistake it for an image.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from puvae_rt.contract import (
    BIAS,
    CANDIDATES,
    CLASSES,
    IMAGE,
    LABEL,
    NO_LABEL,
    PURIFIED,
    RMSE,
    SCORE,
    ImageContract,
    Score,
)
from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import BATCH, Graph, Tensor

LISTED = "listed"  # [N,m] int64: the classes decoded, where a shortlist chose them
_LARGEST = float(np.finfo(np.float32).max)


def selection_outputs(contract: ImageContract, classes: int) -> list[Tensor]:
    """The outputs of a CPU graph: purified, label, rmse and score."""
    return [
        Tensor(PURIFIED, np.float32, (BATCH, *contract.shape)),
        Tensor(LABEL, np.int64, (BATCH,)),
        Tensor(RMSE, np.float32, (BATCH, classes)),
        Tensor(SCORE, np.float32, (BATCH, classes)),
    ]


def candidate_outputs(
    contract: ImageContract, score: Score, classes: int, shortlist: int | None = None
) -> list[Tensor]:
    """The outputs of a GPU engine: `candidates`, `bias` when the score needs it, and `classes` when a shortlist chose
    them. The selection kernel does the rest."""
    count = shortlist or classes
    outputs = [Tensor(CANDIDATES, np.float32, (BATCH, count, *contract.shape))]
    if score.has_bias:
        outputs.append(Tensor(BIAS, np.float32, (BATCH, count)))
    if shortlist is not None:
        outputs.append(Tensor(CLASSES, np.int32, (BATCH, count)))
    return outputs


def stop_at_candidates(
    graph: Graph, contract: ImageContract, score: Score, classes: int, shortlist: int | None = None
) -> Graph:
    """A copy of the graph that ends in its candidates, without the selection.

    Args:
        graph: image -> purified, label, rmse, score.
        contract: the images' shape.
        score: how the projection is chosen.
        classes: K.
        shortlist: m, in a graph that has been through the pass of this name; None otherwise.
    """
    graph = graph.copy()
    graph.outputs = candidate_outputs(contract, score, classes, shortlist)
    if shortlist is not None:
        graph.op("Cast", [LISTED], CLASSES, to=TensorProto.INT32)
    graph.prune()
    return graph


def add_selection(graph: Graph, contract: ImageContract, score: Score, classes: int) -> None:
    """Appends purified, label, rmse and score to a graph with `image`, `candidates` [N,K,C,H,W] and, when the
    score weighs it, `bias` [N,K] (kl_weight * KL); all FP32."""
    graph.outputs = selection_outputs(contract, classes)
    axes = graph.ints("select.pixel_axes", (2, 3, 4))
    one = graph.ints("select.class_axis", (1,))
    single = graph.op("Unsqueeze", [IMAGE, one], "select.image")  # [N,1,C,H,W]
    difference = graph.op("Sub", [single, CANDIDATES], "select.difference")  # [N,K,C,H,W]
    squares = graph.op("Mul", [difference, difference], "select.squares")
    sse = graph.op("ReduceSum", [squares, axes], "select.sse", keepdims=0)  # [N,K]
    mean = graph.op("Div", [sse, graph.constant("select.pixels", contract.pixels)], "select.mse")
    graph.op("Sqrt", [mean], RMSE)
    distance = _dead_zone(graph, difference, axes, score.tau) if score.tau > 0 else sse
    if score.has_bias:
        graph.op("Add", [distance, BIAS], SCORE)
    else:
        graph.op("Identity", [distance], SCORE)
    _choose(graph)


def _dead_zone(graph: Graph, difference: str, axes: str, tau: float) -> str:
    """sum max(|d| - tau, 0)^2 over the pixels, [N,K]."""
    size = graph.op("Abs", [difference], "select.size")
    excess = graph.op("Sub", [size, graph.constant("select.tau", tau)], "select.excess")
    kept = graph.op("Relu", [excess], "select.kept")
    squares = graph.op("Mul", [kept, kept], "select.kept_squares")
    return graph.op("ReduceSum", [squares, axes], "select.dead_zone", keepdims=0)


def _choose(graph: Graph) -> None:
    """label and purified out of `score` and `candidates`."""
    infinity = graph.constant("select.infinity", np.inf)
    is_nan = graph.op("IsNaN", [SCORE], "select.is_nan")
    finite = graph.op("Min", [SCORE, graph.constant("select.largest", _LARGEST)], "select.finite")
    keyed = graph.op("Where", [is_nan, infinity, finite], "select.keyed")  # NaN behind everything else
    index = graph.op("ArgMin", [keyed], "select.index", axis=1, keepdims=1)  # [N,1], 0 when all are NaN
    smallest = graph.op("ReduceMin", [keyed, "select.class_axis"], "select.smallest", keepdims=1)
    none = graph.op("IsInf", [smallest], "select.none")  # [N,1]
    no_label = graph.constant("select.no_label", NO_LABEL, np.int64)
    label = graph.op("Where", [none, no_label, index], "select.label")
    graph.op("Squeeze", [label, "select.class_axis"], LABEL)
    chosen = graph.op("GatherND", [CANDIDATES, index], "select.chosen", batch_dims=1)  # [N,C,H,W]
    mask = graph.op("Unsqueeze", [none, graph.ints("select.mask_axes", (2, 3))], "select.mask")  # [N,1,1,1]
    graph.op("Where", [mask, graph.constant("select.nan", np.nan), chosen], PURIFIED)


def choose_among(graph: Graph, classes: int) -> None:
    """Makes the choice among m candidates, whose classes `listed` [N,m] tells, one among K.

    `label` is the chosen one's class: of equal scores the lowest class wins, wherever it is listed. `rmse` [N,K] is NaN
    and `score` [N,K] infinite for classes not listed.
    """
    batch = graph.op("Shape", [IMAGE], "choice.batch", start=0, end=1)
    every = graph.op("Concat", [batch, graph.ints("choice.classes", (classes,))], "choice.every", axis=0)
    for name, absent in ((RMSE, np.nan), (SCORE, np.inf)):
        own = graph.rename(name, f"{name}.listed")
        value = helper.make_tensor(f"{name}.absent", TensorProto.FLOAT, (1,), (absent,))
        blank = graph.op("ConstantOfShape", [every], f"{name}.blank", value=value)
        graph.op("ScatterElements", [blank, LISTED, own], name, axis=1)
    label, index = graph.producer("select.label"), graph.producer("select.index")
    if label is None or label.op_type != "Where" or index is None or index.op_type != "ArgMin":
        raise BuildError("pass shortlist: found no choice of a label; give a graph from `--passes none`")
    best = graph.op("Equal", ["select.keyed", "select.smallest"], "choice.best")  # [N,m], every one when all are NaN
    behind = graph.constant("choice.behind", classes, np.int64)
    ranked = graph.op("Where", [best, LISTED, behind], "choice.ranked")
    index.input[0] = ranked
    label.input[2] = graph.op("ReduceMin", [ranked, "select.class_axis"], "choice.label", keepdims=1)
