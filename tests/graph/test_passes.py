"""Every pass leaves every candidate (and every KL bias) where the straightforward graph put it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.cost import macs_per_image
from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes import EXACT, EXACT_TOLERANCE, apply, exact_passes
from puvae_rt.graph.passes.cpu import apply_cpu
from puvae_rt.graph.passes.gpu import apply_gpu, gpu_passes
from puvae_rt.graph.reference import straightforward
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.models.spec import Ranks
from puvae_rt.models.weights import Weights
from tests.export.toy import COLOR, GRAY, RANKING, Feeds, feeds, head, random_weights, run
from tests.tolerances import EXACT_ATOL, EXACT_KL_RELATIVE, LIGHT

MODELS = {
    "mnist-2": (GRAY, 2),
    "mnist-10": (GRAY, 10),
    "mnist-43": (GRAY, 43),
    "color-2": (COLOR, 2),
    "color-10": (COLOR, 10),
    "color-43": (COLOR, 43),
}
NORMALIZED = "color-10-normalized"  # contrast taken away before the trunk and given back behind the decoder
MAX_REFERENCE_ROWS = 80  # images times classes through the straightforward graph, which is slow


def candidates_graph(weights: Weights, sigma: float = 0.0, dense: bool = False) -> Graph:
    whole = straightforward(weights, sigma, dense)
    return stop_at_candidates(whole, weights.contract, weights.score, len(weights.classes))


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(got["candidates"], want["candidates"], rtol=0, atol=EXACT_ATOL)
    if "bias" in want:
        np.testing.assert_allclose(got["bias"], want["bias"], rtol=EXACT_KL_RELATIVE)


@cache
def reference(model: str) -> tuple[Graph, Feeds, dict[str, np.ndarray]]:
    """The straightforward graph, eight images, and its answer for the first of them."""
    weights = random_weights(*MODELS[model.removesuffix("-normalized")], normalized=model.endswith("-normalized"))
    graph = candidates_graph(weights)
    images = feeds(weights, 8)
    return graph, images, run(graph, head(images, min(8, MAX_REFERENCE_ROWS // len(weights.classes))))


def test_the_promise_is_what_is_tested() -> None:
    assert EXACT_TOLERANCE == EXACT_ATOL


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("ending", ["exact", "cpu", "gpu"])
@pytest.mark.parametrize("model", [*MODELS, NORMALIZED])
def test_all_passes_together(model: str, ending: str, batch: int) -> None:
    graph, images, answer = reference(model)
    passed = apply(graph, exact_passes(Score(), 0.0))
    if ending == "cpu":
        passed = apply_cpu(passed)
    if ending == "gpu":
        passed = apply_gpu(passed, gpu_passes(Score(), 0.0))
    got = run(passed, head(images, batch))
    assert got["candidates"].shape[0] == batch
    known = min(batch, len(answer["candidates"]))
    assert_same(head(got, known), head(answer, known))
    assert answer["candidates"].std(axis=1).mean() > 0.01  # classes differ: equality says something


def test_in_another_light_the_projections_are_the_same() -> None:
    """Half the contrast and a tenth more light go through a normalised model as they came."""
    graph = candidates_graph(random_weights(COLOR, 2, normalized=True))
    given_ = feeds(random_weights(COLOR, 2), 2)
    darker = run(graph, {"image": 0.5 * given_["image"] + 0.1})
    bright = run(graph, given_)
    inside = (bright["candidates"] > 0) & (bright["candidates"] < 1)
    assert inside.mean() > 0.5
    expected = 0.5 * bright["candidates"] + 0.1
    np.testing.assert_allclose(darker["candidates"][inside], expected[inside], rtol=0, atol=LIGHT)
    plain = run(candidates_graph(random_weights(COLOR, 2)), {"image": 0.5 * given_["image"] + 0.1})
    assert np.abs(plain["candidates"] - darker["candidates"]).max() > 0.1


@settings(max_examples=12, deadline=None)
@given(
    contract=st.sampled_from([GRAY, COLOR]),
    classes=st.integers(2, 6),
    batch=st.integers(1, 3),
    sigma=st.sampled_from([0.0, 0.1]),
    score=st.sampled_from([Score(), Score(kl_weight=0.3), Score(prior_weight=2.0), Score(0.0, 0.3, 2.0)]),
    ranks=st.builds(
        Ranks, fc1=st.integers(1, 12), fc2=st.none() | st.integers(1, 12), trunk=st.none() | st.integers(1, 40)
    ),
    seed=st.integers(0, 1000),
    normalized=st.booleans(),
    data=st.data(),
)
def test_after_each_pass(
    contract: ImageContract,
    classes: int,
    batch: int,
    sigma: float,
    score: Score,
    ranks: Ranks,
    seed: int,
    normalized: bool,
    data: st.DataObject,
) -> None:
    prior = RANKING if score.prior_weight else None
    weights = random_weights(contract, classes, ranks, score, seed, normalized, prior)
    graph = candidates_graph(weights, sigma)
    exact, gpu = exact_passes(score, sigma), gpu_passes(score, sigma)
    count = data.draw(st.integers(1, len(exact) + len(gpu)), "passes")
    passed = apply_gpu(apply(graph, exact[:count]), gpu[: max(count - len(exact), 0)])
    given_ = feeds(weights, batch, sigma, seed)
    answer = run(graph, given_)
    assert_same(run(passed, given_), answer)
    assert_same(run(apply_cpu(apply(graph, exact)), given_), answer)


def test_low_rank_is_multiplied_back() -> None:
    weights = random_weights(GRAY, 2, Ranks(fc1=8, fc2=4, trunk=6))
    factored, dense = candidates_graph(weights), candidates_graph(weights, dense=True)
    images = feeds(weights, 2)
    want = run(factored, images)
    assert_same(run(dense, images), want)
    assert_same(run(apply(dense, exact_passes(Score(), 0.0)), images), want)
    shapes = {value.shape for value in dense.constants.values()}
    assert {(1024, 32 * 28 * 28 + 2), (1024, 1024)} <= shapes  # Table 1's FC1 (with its label columns) and FC2
    assert (8, 32 * 28 * 28) not in shapes
    assert [dense.value(node.input[1]).shape[2:] for node in dense.of_type("Conv")] == [(7, 7)] * 3


@pytest.mark.parametrize("contract", [GRAY, COLOR], ids=["gray", "color"])
def test_on_a_cpu_no_transposed_convolution_is_left(contract: ImageContract) -> None:
    graph = apply_cpu(apply(candidates_graph(random_weights(contract)), exact_passes(Score(), 0.0)))
    assert not graph.of_type("ConvTranspose")
    with pytest.raises(BuildError, match=r"pass first_deconv_as_gemm: found no transposed convolutions"):
        apply_cpu(graph)


def test_a_gpu_gets_one_convolution_for_two() -> None:
    """Launches, not products, are what a single frame costs there."""
    exact = apply(candidates_graph(random_weights(ranks=Ranks(8, 8, trunk=6))), exact_passes(Score(), 0.0))
    assert len(exact.of_type("Conv")) == 5
    assert len(apply_gpu(exact, ("merge_convolutions",)).of_type("Conv")) == 3


def test_the_trunk_runs_once_per_image() -> None:
    """DESIGN's arithmetic: 1,103 million multiply-adds per MNIST image before, 153 million after (sigma kept)."""
    graph = candidates_graph(random_weights(GRAY, 10), dense=True)
    assert round(macs_per_image(graph) / 1e6) == 1103
    kept = [name for name in exact_passes(Score(), 0.0) if name != "drop_sigma"]
    assert round(macs_per_image(apply(graph, kept)) / 1e6) == 153


def test_what_the_exact_passes_remove() -> None:
    graph = apply(candidates_graph(random_weights()), exact_passes(Score(), 0.0))
    kinds = {node.op_type for node in graph.nodes}
    assert not kinds & {"Concat", "Softplus", "Split", "Shape"}  # no one-hot labels, no sigma
    assert all(b"dilations" not in node.SerializeToString() for node in graph.of_type("Conv"))


def test_sigma_stays_where_something_needs_it() -> None:
    for score, sigma in [(Score(kl_weight=0.3), 0.0), (Score(), 0.1)]:
        assert "drop_sigma" not in exact_passes(score, sigma)
        graph = candidates_graph(random_weights(score=score), sigma)
        assert apply(graph, exact_passes(score, sigma)).of_type("Softplus")


@pytest.mark.parametrize("name", EXACT)
def test_a_pass_refuses_a_graph_that_it_was_applied_to(name: str) -> None:
    passed = apply(candidates_graph(random_weights()), exact_passes(Score(), 0.0))
    with pytest.raises(BuildError, match=rf"pass {name}: found no .*; give"):
        apply(passed, [name])


def test_drop_sigma_refuses_to_drop_what_is_used() -> None:
    with pytest.raises(BuildError, match=r"drop_sigma: the sample or the score needs sigma"):
        apply(candidates_graph(random_weights(), sigma=0.1), ["drop_sigma"])


@pytest.mark.parametrize("name", ["channels_last_features", "carry_labels", "tile_classes"])
def test_a_gpu_pass_refuses_a_graph_without_its_pattern(name: str) -> None:
    with pytest.raises(BuildError, match=rf"pass {name}: found no .*; give"):
        apply_gpu(candidates_graph(random_weights(), sigma=0.1), (name,))


def test_passes_leave_the_graph_they_are_given_alone() -> None:
    graph = candidates_graph(random_weights())
    before = graph.to_model().SerializeToString()
    apply_gpu(apply(graph, exact_passes(Score(), 0.0)), gpu_passes(Score(), 0.0))
    assert graph.to_model().SerializeToString() == before
