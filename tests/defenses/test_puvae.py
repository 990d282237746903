"""PuVAE as a defense: the choice, the sampling noise, the refinement, the engine."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from puvae_rt import Purifier
from puvae_rt.contract import ImageContract, Score
from puvae_rt.defenses import puvae as defense
from puvae_rt.defenses.magnet import MagNet
from puvae_rt.defenses.puvae import DeployedPuvae, Puvae, RefinedPuvae, Refinement
from puvae_rt.errors import ContractError
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from tests.runtime import toy
from tests.tolerances import EXACT_ATOL, TOY_GRAPH

CONTRACT, CLASSES = ImageContract(1, 28, 28), 3


@cache
def model() -> PuVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = PuVAE(CONTRACT, CLASSES, Ranks(4, 4))
        for parameter in (*vae.fc3.parameters(), *vae.decoder_fc.parameters(), *vae.deconvs.parameters()):
            parameter.data *= 3  # so that classes and codes make a difference
    return vae.requires_grad_(False)


def images(count: int = 3) -> Tensor:
    return torch.rand(count, *CONTRACT.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("score", [Score(), Score(0.2), Score(0.1, 0.5)], ids=["rmse", "dead zone", "kl"])
def test_the_candidate_with_the_lowest_score_is_kept(score: Score) -> None:
    x = images()
    candidates, kl = model().project(x)
    for image, projections, kls, result in zip(x, candidates, kl, Puvae(model(), score).purify(x), strict=True):
        sums = [
            ((image - p).abs() - score.tau).clamp(min=0).square().sum() + score.kl_weight * k
            for p, k in zip(projections, kls, strict=True)
        ]
        expected = projections[int(np.argmin(sums))]
        torch.testing.assert_close(result, expected, atol=EXACT_ATOL, rtol=0)


def test_sampling_is_seeded_and_its_scale_matters() -> None:
    still, little, much = (Puvae(model(), Score(), sigma).purify(images()) for sigma in (0.0, 0.01, 10.0))
    assert torch.equal(little, Puvae(model(), Score(), 0.01).purify(images()))
    assert 0 < (little - still).abs().max() < (much - still).abs().max()


def objective(refined: RefinedPuvae, x: Tensor) -> list[Tensor]:
    """J of what comes back at each step, searched among the codes that were met."""
    met: list[tuple[Tensor, Tensor]] = []
    descend = refined._descend

    def spy(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        candidates, j, gradient = descend(*given)
        met.append((candidates, j))
        return candidates, j, gradient

    refined._descend = spy  # type: ignore[method-assign]
    results = list(refined.anytime(x))
    candidates, j = (torch.cat(parts) for parts in zip(*met, strict=True))
    found = []
    for result in results:
        distances = (result[:, None] - candidates).abs().amax(dim=(2, 3, 4))  # [N, codes met]
        assert (distances.min(dim=1).values < EXACT_ATOL).all()
        found.append(j[distances.argmin(dim=1)])
    return found


def test_the_refinement_starts_with_the_feed_forward_result_and_never_gets_worse() -> None:
    x = images(1)  # J is looked up by picture: one image at a time
    refined = RefinedPuvae(model(), Score(), Refinement(steps=6, rate=0.1, tau=0.1, prior=0.5))
    first, *_ = refined.anytime(x)
    torch.testing.assert_close(first, Puvae(model(), Score()).purify(x), atol=EXACT_ATOL, rtol=0)
    values = objective(refined, x)
    assert len(values) == 7
    assert all((later <= earlier).all() for earlier, later in pairwise(values))
    assert (values[-1] < values[0]).all()


def test_the_chosen_class_stays() -> None:
    x = images(6)
    refined = RefinedPuvae(model(), Score(), Refinement(steps=4, rate=0.5, tau=0.0, prior=0.0))
    descend, classes = refined._descend, []

    def spy(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        classes.append(given[2].argmax(dim=1))
        return descend(*given)

    refined._descend = spy  # type: ignore[method-assign]
    refined.purify(x)
    candidates, _ = model().project(x)
    chosen = (candidates - x[:, None]).square().sum(dim=(2, 3, 4)).argmin(dim=1)
    assert len(classes) == 4 and all(torch.equal(k, chosen) for k in classes)


def test_the_prior_keeps_the_codes_small() -> None:
    x = images()

    def descended(prior: float) -> Tensor:
        refined = RefinedPuvae(model(), Score(), Refinement(steps=1, tau=0.0, prior=prior))
        _, _, gradient = refined._descend(x, torch.ones(len(x), 32), torch.eye(CLASSES)[: len(x)])
        return gradient

    torch.testing.assert_close(descended(2.0) - descended(0.0), torch.full((3, 32), 4.0), atol=1e-3, rtol=0)


def test_differences_within_the_dead_zone_do_not_move_the_codes() -> None:
    refined = RefinedPuvae(model(), Score(), Refinement(steps=1, tau=0.99, prior=0.0))
    x = torch.full((CLASSES, *CONTRACT.shape), 0.5)
    _, value, gradient = refined._descend(x, torch.zeros(CLASSES, 32), torch.eye(CLASSES))
    assert not value.any() and not gradient.any()


def test_batches_are_cut_and_joined_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [d.purify(images(5)) for d in (Puvae(model(), Score()), RefinedPuvae(model(), Score()))]
    monkeypatch.setattr(defense, "CHUNK", 2)
    for expected, d in zip(whole, (Puvae(model(), Score()), RefinedPuvae(model(), Score())), strict=True):
        torch.testing.assert_close(d.purify(images(5)), expected, atol=EXACT_ATOL, rtol=0)


def test_the_deployed_engine_speaks_the_same_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    x = images(4)
    with Purifier.load(toy.save_bundle(tmp_path / "bundle"), threads=1) as engine:
        result = DeployedPuvae(engine).purify(x)
    candidates = toy.candidates(x.numpy())
    chosen = ((candidates - x.numpy()[:, None]) ** 2).mean(axis=(2, 3, 4)).argmin(axis=1)
    np.testing.assert_allclose(result.numpy(), candidates[np.arange(4), chosen], atol=TOY_GRAPH)


def test_magnet_replaces_the_image_by_the_reformers_output() -> None:
    reformer = torch.nn.AvgPool2d(3, 1, 1)
    torch.testing.assert_close(MagNet(reformer).purify(images()), reformer(images()))


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"rate": 0.0}, {"tau": 1.0}, {"tau": -0.1}, {"prior": -1.0}, {"prior": float("inf")}]
)
def test_impossible_refinements_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ContractError, match=next(iter(bad))):
        Refinement(**bad)  # type: ignore[arg-type]


def test_a_negative_noise_scale_is_refused() -> None:
    with pytest.raises(ContractError, match="sigma_eps"):
        Puvae(model(), Score(), -0.1)
