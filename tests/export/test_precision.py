from __future__ import annotations

import numpy as np
import pytest

from export.precision import to_fp16
from puvae_rt.contract import Score
from puvae_rt.errors import BuildError
from puvae_rt.graph.passes import apply, exact_passes
from puvae_rt.graph.passes.gpu import apply_gpu, gpu_passes
from puvae_rt.graph.reference import straightforward
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.models.spec import Ranks
from tests.export.toy import GRAY, feeds, random_weights, run
from tests.tolerances import FP16_ATOL

CASES = {
    "plain": (Score(), 0.0, True, False),
    "kl": (Score(kl_weight=0.3), 0.0, True, False),
    "sampled": (Score(), 0.1, True, False),
    "without-passes": (Score(kl_weight=0.3), 0.1, False, False),
    "normalized": (Score(), 0.0, True, True),
}


@pytest.mark.parametrize("score, sigma, passes, normalized", CASES.values(), ids=CASES)
def test_the_fp16_graph_computes_the_same(score: Score, sigma: float, passes: bool, normalized: bool) -> None:
    weights = random_weights(GRAY, 3, Ranks(fc1=8), score, normalized=normalized)
    graph = stop_at_candidates(straightforward(weights, sigma, dense=False), GRAY, score, 3)
    if passes:
        graph = apply_gpu(apply(graph, exact_passes(score, sigma)), gpu_passes(score, sigma))
    half = to_fp16(graph)
    given = feeds(weights, 2, sigma)
    want, got = run(graph, given), run(half, given)
    assert got["candidates"].dtype == np.float16
    np.testing.assert_allclose(got["candidates"].astype(np.float32), want["candidates"], rtol=0, atol=FP16_ATOL)
    if score.kl_weight:
        assert got["bias"].dtype == np.float32
        np.testing.assert_allclose(got["bias"], want["bias"], rtol=FP16_ATOL)


def test_every_weight_is_half_and_the_callers_graph_is_not() -> None:
    weights = random_weights(score=Score(kl_weight=0.3))
    graph = stop_at_candidates(straightforward(weights, dense=False), GRAY, weights.score, 3)
    half = to_fp16(graph)
    large = {name: value.dtype for name, value in half.constants.items() if value.size > 9 and value.dtype.kind == "f"}
    assert set(large.values()) == {np.dtype(np.float16)}
    assert {value.dtype for value in graph.constants.values()} == {np.dtype(np.float32), np.dtype(np.int64)}


def test_the_kl_is_fp32_where_fp16_would_overflow() -> None:
    """A bias beyond 65504 and a sigma that FP16 cannot hold."""
    weights = random_weights(score=Score(kl_weight=1e5))
    weights.tensors["fc3.bias"][32:] = -20.0  # sigma = 2e-9
    graph = stop_at_candidates(straightforward(weights, dense=False), GRAY, weights.score, 3)
    given = feeds(weights, 1)
    want, got = run(graph, given)["bias"], run(to_fp16(graph), given)["bias"]
    assert want.min() > 65504
    np.testing.assert_allclose(got, want, rtol=FP16_ATOL)


def test_a_weight_beyond_the_range_is_refused() -> None:
    weights = random_weights()
    weights.tensors["fc3.weight"][0, 0] = 1e5
    graph = stop_at_candidates(straightforward(weights, dense=False), GRAY, Score(), 3)
    with pytest.raises(BuildError, match=r"fc3.weight holds 100000, beyond FP16's 65504; build it in fp32"):
        to_fp16(graph)


def test_an_operator_without_a_rule_is_refused() -> None:
    graph = straightforward(random_weights(), dense=False)  # with the selection, which no GPU engine has
    with pytest.raises(BuildError, match=r"precision fp16: no rule for"):
        to_fp16(graph)
