"""The choice among candidates: scores against NumPy, ties, NaN, infinity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.contract import ImageContract, Score
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.graph.selection import add_selection
from tests.export.toy import run
from tests.tolerances import TOY_GRAPH_SUM

CONTRACT = ImageContract(1, 2, 2)
SCORES = {"rmse": Score(), "dead-zone": Score(tau=0.2), "kl": Score(kl_weight=1.0), "both": Score(0.1, 2.0)}


def select(
    images: np.ndarray, candidates: np.ndarray, score: Score = Score(), bias: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What the graph chooses out of candidates [N,K,C,H,W] that are given to it."""
    classes, contract = candidates.shape[1], ImageContract(*images.shape[1:])
    graph = Graph(
        [
            Tensor("image", np.float32, (BATCH, *contract.shape)),
            Tensor("candidates", np.float32, (BATCH, classes, *contract.shape)),
        ]
    )
    feed = {"image": images, "candidates": candidates}
    if bias is not None:
        graph.inputs.append(Tensor("bias", np.float32, (BATCH, classes)))
        feed["bias"] = bias
    add_selection(graph, contract, score, classes)
    return run(graph, feed)


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 4),
    classes=st.integers(2, 6),
    contract=st.builds(ImageContract, st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
    score=st.sampled_from(list(SCORES.values())),
    seed=st.integers(0, 1000),
)
def test_scores_and_choice(count: int, classes: int, contract: ImageContract, score: Score, seed: int) -> None:
    random = np.random.default_rng(seed)
    images = random.random((count, *contract.shape), np.float32)
    candidates = random.random((count, classes, *contract.shape), np.float32)
    bias = random.random((count, classes), np.float32) if score.kl_weight else None
    got = select(images, candidates, score, bias)
    difference = (images[:, None] - candidates).astype(np.float64)
    rmse = np.sqrt((difference**2).mean(axis=(2, 3, 4)))
    scores = (np.maximum(np.abs(difference) - score.tau, 0) ** 2).sum(axis=(2, 3, 4)) + (0 if bias is None else bias)
    np.testing.assert_allclose(got["rmse"], rmse, rtol=TOY_GRAPH_SUM)
    np.testing.assert_allclose(got["score"], scores, rtol=TOY_GRAPH_SUM, atol=TOY_GRAPH_SUM)
    np.testing.assert_array_equal(got["label"], got["score"].argmin(axis=1))
    np.testing.assert_array_equal(got["purified"], candidates[np.arange(count), got["label"]])


def constant_candidates(*values: float) -> np.ndarray:
    """One image's candidates, each of one gray value."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1, 1) * np.ones(CONTRACT.shape, np.float32)


NAN, INF = float("nan"), float("inf")
CHOICES = {
    "tie": ([0.5, 0.25, 0.25, 0.25], 1),
    "tie-on-both-sides": ([0.3, -0.3], 0),
    "nan-first": ([NAN, 0.9], 1),
    "nan-last": ([0.9, NAN], 0),
    "infinity-beats-nan": ([NAN, INF, NAN], 1),
    "finite-beats-infinity": ([INF, -INF, 0.9, NAN], 2),
    "all-nan": ([NAN, NAN], -1),
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("values, label", CHOICES.values(), ids=CHOICES)
def test_ties_and_nan(values: list[float], label: int, score: Score) -> None:
    images = np.zeros((1, *CONTRACT.shape), np.float32)
    candidates = constant_candidates(*values)
    bias = np.zeros((1, len(values)), np.float32) if score.kl_weight else None
    got = select(images, candidates, score, bias)
    assert got["label"].tolist() == [label]
    expected = np.full((1, *CONTRACT.shape), np.nan) if label < 0 else candidates[:, label]
    np.testing.assert_array_equal(got["purified"], expected)


def test_a_nan_bias_never_wins() -> None:
    images = np.zeros((1, *CONTRACT.shape), np.float32)
    bias = np.array([[NAN, 5.0]], np.float32)
    got = select(images, constant_candidates(0.1, 0.9), SCORES["kl"], bias)
    assert got["label"].tolist() == [1]
