"""A shortlist decodes fewer classes, those exactly as before, and the others never win."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.cost import macs_per_image
from export.precision import to_fp16
from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import BuildError
from puvae_rt.graph import plan
from puvae_rt.graph.cpu import cpu_model, cpu_passes
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.graph.onnx_file import read_puvae, write_onnx
from puvae_rt.graph.passes.shortlist import SHORTLIST, shortlist
from puvae_rt.graph.prior import LOG_P
from puvae_rt.graph.reference import straightforward
from puvae_rt.graph.selection import LISTED, add_selection, choose_among
from puvae_rt.models.weights import Weights, load_weights
from puvae_rt.runtime.session import open_session
from puvae_rt.training.artefacts import load_selector
from tests.export.toy import COLOR, GRAY, RANKING, feeds, random_weights, run
from tests.graph.test_prior import saved
from tests.tolerances import EXACT_ATOL, FP16_ATOL, TOY_GRAPH_SUM

SCORE = Score(tau=0.1, prior_weight=3.0)


def exact(weights: Weights, sigma: float = 0.0) -> tuple[Graph, Description]:
    plain = straightforward(weights, sigma, dense=False)
    described = Description(
        weights.model, weights.classes, weights.contract, weights.score, sigma, (), weights.shortlist
    )
    return plan.exact(plain, described)


def built(weights: Weights, target: str, sigma: float = 0.0) -> tuple[Graph, Description]:
    return plan.for_target(*exact(weights, sigma), target)


def assert_the_same_among(got: dict[str, np.ndarray], want: dict[str, np.ndarray], listed: np.ndarray) -> None:
    """`got` has exactly the classes `listed` [N,m] of `want`, and chose among them as `want` would have."""
    decoded = np.zeros(want["score"].shape, bool)
    np.put_along_axis(decoded, listed, True, axis=1)
    assert np.isnan(got["rmse"][~decoded]).all() and np.isposinf(got["score"][~decoded]).all()
    np.testing.assert_allclose(got["rmse"][decoded], want["rmse"][decoded], rtol=0, atol=EXACT_ATOL)
    np.testing.assert_allclose(got["score"][decoded], want["score"][decoded], rtol=TOY_GRAPH_SUM)
    np.testing.assert_array_equal(got["label"], np.where(decoded, want["score"], np.inf).argmin(axis=1))


@settings(max_examples=6, deadline=None)
@given(
    contract=st.sampled_from([GRAY, COLOR]),
    classes=st.integers(3, 6),
    batch=st.integers(1, 5),
    sigma=st.sampled_from([0.0, 0.1]),
    kl_weight=st.sampled_from([0.0, 0.3]),
    prior_weight=st.sampled_from([0.0, 3.0]),
    normalized=st.booleans(),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_what_is_decoded_is_as_in_the_full_graph(
    contract: ImageContract,
    classes: int,
    batch: int,
    sigma: float,
    kl_weight: float,
    prior_weight: float,
    normalized: bool,
    seed: int,
    data: st.DataObject,
) -> None:
    count = data.draw(st.integers(2, classes - 1), "shortlist")
    score = Score(0.1, kl_weight, prior_weight)
    weights = random_weights(
        contract, classes, score=score, seed=seed, normalized=normalized, prior=RANKING, shortlist=count
    )
    full = straightforward(weights, sigma, dense=False)
    full.outputs += [
        Tensor(LOG_P, np.float32, (BATCH, classes)),
        Tensor("candidates", np.float32, (BATCH, classes, *contract.shape)),
    ]
    images = feeds(weights, batch, sigma, seed)
    want = run(full, images)
    listed = np.argsort(-want[LOG_P], axis=1, kind="stable")[:, :count]

    graph, described = built(weights, "cpu", sigma)
    assert SHORTLIST in described.passes and described.shortlist == count
    got = run(graph, images)
    assert_the_same_among(got, want, listed)
    winners = want["candidates"][np.arange(batch), got["label"]]
    np.testing.assert_allclose(got["purified"], winners, rtol=0, atol=EXACT_ATOL)

    engine = run(built(weights, "rtx", sigma)[0], images)
    np.testing.assert_array_equal(engine["classes"], listed)
    assert engine["classes"].dtype == np.int32
    own = np.take_along_axis(want["candidates"], listed[:, :, None, None, None], axis=1)
    np.testing.assert_allclose(engine["candidates"], own, rtol=0, atol=EXACT_ATOL)
    assert ("bias" in engine) == score.has_bias


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "normalized"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_graph_chooses_as_pytorch_does(tmp_path: Path, normalized: bool, count: int) -> None:
    path = saved(tmp_path / "w.safetensors", COLOR, normalized, count)
    selector, weights = load_selector(path)[0], load_weights(path)
    assert (selector.shortlist, weights.shortlist) == (count, count)
    given_ = feeds(weights, 6)
    got = run(built(weights, "cpu")[0], given_)
    with torch.no_grad():
        want = selector.project(torch.from_numpy(given_["image"]))
    np.testing.assert_array_equal(got["label"], want.chosen().numpy())
    np.testing.assert_allclose(got["purified"], want.winners().numpy(), rtol=0, atol=EXACT_ATOL)
    own = np.take_along_axis(got["score"], want.classes.numpy(), axis=1)
    np.testing.assert_allclose(own, want.scores.numpy(), rtol=TOY_GRAPH_SUM)
    assert np.isfinite(got["score"]).sum(axis=1).tolist() == [count] * 6


def test_what_a_gpu_engine_gives() -> None:
    weights = random_weights(GRAY, 5, score=SCORE, prior=RANKING, shortlist=3)
    graph, described = built(weights, "rtx")
    assert [(t.name, np.dtype(t.dtype), t.shape) for t in graph.outputs] == [
        ("candidates", np.float32, (BATCH, 3, *GRAY.shape)),
        ("bias", np.float32, (BATCH, 3)),
        ("classes", np.int32, (BATCH, 3)),
    ]
    assert "tile_classes" not in described.passes and "carry_labels" in described.passes
    images = feeds(weights, 4)
    want, half = run(graph, images), run(to_fp16(graph), images)
    assert {name: value.dtype for name, value in half.items()} == {
        "candidates": np.float16,
        "bias": np.float32,
        "classes": np.int32,
    }
    np.testing.assert_array_equal(half["classes"], want["classes"])
    np.testing.assert_allclose(half["candidates"].astype(np.float32), want["candidates"], rtol=0, atol=FP16_ATOL)


def test_it_saves_the_work_of_the_classes_left_out() -> None:
    few, all_ = (
        built(random_weights(GRAY, 10, score=SCORE, prior=RANKING, shortlist=count), "cpu")[0] for count in (3, None)
    )
    prior = 2 * macs_per_image(all_) - macs_per_image(few)  # at least half of a graph of ten is its decoders
    assert macs_per_image(few) < macs_per_image(all_) and prior > macs_per_image(all_)


def test_of_equally_likely_classes_the_lower_index_goes_first() -> None:
    weights = random_weights(GRAY, 6, score=SCORE, prior=RANKING, shortlist=3)
    for part in ("weight", "bias"):
        weights.tensors[f"prior.out.{part}"][...] = 0.0  # type: ignore[index]
    engine = run(built(weights, "rtx")[0], feeds(weights, 3))
    assert engine["classes"].tolist() == [[0, 1, 2]] * 3


def test_an_image_without_a_finite_score_has_no_label() -> None:
    weights = random_weights(GRAY, 4, score=SCORE, prior=RANKING, shortlist=2)
    weights.tensors["decoder_fc.bias"][...] = np.nan  # type: ignore[index]
    got = run(built(weights, "cpu")[0], feeds(weights, 2))
    assert got["label"].tolist() == [-1, -1] and np.isnan(got["purified"]).all()
    assert np.isnan(got["score"]).sum(axis=1).tolist() == [2, 2]  # of the classes decoded


def test_its_reference_decodes_every_class_and_can_be_built_from(tmp_path: Path) -> None:
    weights = random_weights(GRAY, 4, score=Score(0.1), prior=RANKING, shortlist=2)
    graph, described = exact(weights)
    write_onnx(tmp_path / "reference.onnx", graph, described)
    back, described = read_puvae(tmp_path / "reference.onnx")
    assert described.shortlist == 2 and SHORTLIST not in described.passes
    images = feeds(weights, 2)
    assert np.isfinite(run(back, images)["score"]).all()
    got, want = run(plan.for_target(back, described, "cpu")[0], images), run(built(weights, "cpu")[0], images)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


def test_an_engines_file_says_what_it_decodes(tmp_path: Path) -> None:
    weights = random_weights(GRAY, 4, score=SCORE, prior=RANKING, shortlist=2)
    (tmp_path / "engine.onnx").write_bytes(cpu_model(weights))
    graph, described = read_puvae(tmp_path / "engine.onnx")
    assert described.passes == cpu_passes(SCORE, 2) and described.shortlist == 2
    assert plan.for_target(graph, described, "cpu")[1] == described  # a second time changes nothing
    session = open_session(tmp_path / "engine.onnx", 1)
    for batch in (1, 3, 8):
        (rmse,) = session.run(("rmse",), feeds(weights, batch))
        assert np.isfinite(rmse).sum(axis=1).tolist() == [2] * batch
    with pytest.raises(BuildError, match=r"made for the CPU"):
        plan.for_target(graph, described, "rtx")


def test_without_the_exact_passes_every_class_is_decoded() -> None:
    weights = random_weights(GRAY, 3, score=SCORE, prior=RANKING, shortlist=2)
    described = Description("toy", weights.classes, GRAY, SCORE, 0.0, (), 2)
    graph, described = plan.for_target(straightforward(weights, dense=False), described, "cpu")
    assert described.passes == () and described.shortlist is None
    assert np.isfinite(run(graph, feeds(weights, 1))["score"]).all()


def test_a_graph_without_a_prior_or_without_the_exact_passes_is_refused() -> None:
    graph, _ = exact(random_weights(GRAY, 3))
    with pytest.raises(BuildError, match=r"pass shortlist: found no prior that ranks the classes"):
        shortlist(graph, 2)
    plain = straightforward(random_weights(GRAY, 3, score=SCORE, prior=RANKING), dense=False)
    with pytest.raises(BuildError, match=r"pass shortlist: found no pair of label tables"):
        shortlist(plain, 2)
    with pytest.raises(BuildError, match=r"found no choice of a label"):
        choose_among(Graph(), 3)


@pytest.mark.parametrize(
    "values, label", [((3.0, 1.0), 2), ((1.0, 3.0), 4), ((1.0, 1.0), 2), ((np.nan, 5.0), 2), ((5.0, np.nan), 4)]
)
def test_the_choice_among_few_is_told_among_all(values: tuple[float, float], label: int) -> None:
    """Two candidates, of classes 4 and 2; of equal scores the lower class wins, though it is listed last."""
    contract = ImageContract(1, 1, 1)
    graph = Graph([Tensor("image", np.float32, (BATCH, 1, 1, 1)), Tensor(LISTED, np.int64, (BATCH, 2))])
    graph.inputs.append(Tensor("candidates", np.float32, (BATCH, 2, *contract.shape)))
    add_selection(graph, contract, Score(), 5)
    choose_among(graph, 5)
    images = np.zeros((1, 1, 1, 1), np.float32)
    got = run(
        graph,
        {
            "image": images,
            LISTED: np.array([[4, 2]]),
            "candidates": np.array(values, np.float32).reshape(1, 2, 1, 1, 1),
        },
    )
    assert got["label"].tolist() == [label]
    assert got["purified"].item() == values[[4, 2].index(label)]
    assert np.isnan(got["rmse"][0, [0, 1, 3]]).all() and np.isposinf(got["score"][0, [0, 1, 3]]).all()
    np.testing.assert_array_equal(got["rmse"][0, [4, 2]], values)
