"""The prior in the graph: it computes what PyTorch computes, enters the score, and no pass touches its layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from puvae_rt.contract import ImageContract, Score
from puvae_rt.data import Dataset, Split
from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Graph, Tensor
from puvae_rt.graph.passes import apply, exact_passes
from puvae_rt.graph.passes.cpu import apply_cpu
from puvae_rt.graph.passes.gpu import apply_gpu, gpu_passes
from puvae_rt.graph.prior import LOG_P
from puvae_rt.graph.reference import straightforward
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.selector import Selector
from puvae_rt.models.spec import Ranks
from puvae_rt.models.weights import load_weights
from puvae_rt.training.artefacts import load_selector, save_selector
from tests.export.toy import COLOR, GRAY, RANKING, feeds, random_weights, run, save_weights
from tests.tolerances import EXACT_ATOL, EXACT_KL_RELATIVE, TOY_GRAPH_SUM

SCORE = Score(tau=0.1, kl_weight=0.3, prior_weight=2.0)


def saved(path: Path, contract: ImageContract, normalized: bool, shortlist: int | None = None) -> Path:
    """Random weights of five classes with a prior, as a training writes them."""
    split = Split(np.zeros((1, *contract.shape), np.uint8), np.zeros(1, np.int64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        vae = PuVAE(contract, 5, Ranks(8, 8), normalized).eval()
        prior = Prior(contract, 5, RANKING, normalized).eval()
    with torch.no_grad():
        prior.out.weight *= 20  # an untrained one finds all classes equally likely
    selector = Selector(vae, SCORE, prior, shortlist)
    save_selector(path, selector, Score(0.1), Dataset("bars", tuple("abcde"), split, split, split), {})
    return path


@pytest.mark.parametrize("contract, normalized", [(GRAY, False), (COLOR, False), (COLOR, True)])
def test_the_graph_chooses_as_pytorch_does(tmp_path: Path, contract: ImageContract, normalized: bool) -> None:
    path = saved(tmp_path / "w.safetensors", contract, normalized)
    selector, weights = load_selector(path)[0], load_weights(path)
    given = feeds(weights, 4)
    graph = straightforward(weights, dense=False)
    graph.outputs.append(Tensor(LOG_P, np.float32, ("N", 5)))
    got = run(graph, given)
    images = torch.from_numpy(given["image"])
    with torch.no_grad():
        want = selector.project(images)
        log_p = selector.prior.log_probabilities(images)  # type: ignore[union-attr]
    np.testing.assert_allclose(got[LOG_P], log_p.numpy(), rtol=0, atol=EXACT_ATOL)
    assert log_p.std(dim=1).min() > 0.1  # classes differ: equality says something
    np.testing.assert_allclose(got["score"], want.scores.numpy(), rtol=TOY_GRAPH_SUM)
    np.testing.assert_array_equal(got["label"], want.chosen().numpy())
    np.testing.assert_allclose(got["purified"], want.winners().numpy(), rtol=0, atol=EXACT_ATOL)


@pytest.mark.parametrize("ending", ["exact", "cpu", "gpu"])
@pytest.mark.parametrize("score", [SCORE, replace(SCORE, kl_weight=0.0)], ids=["with-kl", "plain"])
@pytest.mark.parametrize("contract, normalized", [(GRAY, False), (COLOR, True)], ids=["gray", "normalized"])
def test_every_pass_leaves_the_prior_alone(
    contract: ImageContract, normalized: bool, score: Score, ending: str
) -> None:
    weights = random_weights(contract, 4, Ranks(8, 8, 6), score, normalized=normalized, prior=RANKING)
    graph = stop_at_candidates(straightforward(weights, dense=False), contract, score, 4)
    passed = apply(graph, exact_passes(score, 0.0))
    passed = {"exact": lambda: passed, "cpu": lambda: apply_cpu(passed)}.get(
        ending, lambda: apply_gpu(passed, gpu_passes(score, 0.0))
    )()
    assert layers(passed) == layers(graph) and len(layers(graph)) > 10
    given = feeds(weights, 3)
    want, got = run(graph, given), run(passed, given)
    np.testing.assert_allclose(got["candidates"], want["candidates"], rtol=0, atol=EXACT_ATOL)
    np.testing.assert_allclose(got["bias"], want["bias"], rtol=EXACT_KL_RELATIVE)


def layers(graph: Graph) -> set[bytes]:
    """The prior's nodes and parameters."""
    nodes = {node.SerializeToString() for node in graph.nodes if node.name.startswith("prior.")}
    return nodes | {value.tobytes() for name, value in graph.constants.items() if name.startswith("prior.")}


def test_without_its_prior_a_file_gives_the_graph_of_the_distance(tmp_path: Path) -> None:
    weights = load_weights(saved(tmp_path / "w.safetensors", GRAY, False), prior=False)
    graph = straightforward(weights, dense=False)
    assert not layers(graph) and graph.producer(LOG_P) is None
    assert len(graph.of_type("Conv")) == 3 and graph.producer("bias") is None


def test_a_score_that_weighs_a_prior_needs_one(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "w.safetensors", random_weights(score=SCORE))
    with pytest.raises(BuildError, match=r"score: got prior_weight=2.0, expected 0 without the prior"):
        load_weights(path)
