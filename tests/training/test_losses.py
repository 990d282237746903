"""Loss terms against torch.distributions and against the formulas they are named after."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Normal, kl_divergence

from puvae_rt.contract import ImageContract
from puvae_rt.models.puvae import Posterior, PuVAE, gaussian_kl
from puvae_rt.models.score import dead_zone_sse
from puvae_rt.training.losses import (
    RANKING_MARGIN,
    ranking_loss,
    reconstruction_loss,
    wrong_classes,
)
from tests.tolerances import LOSS_RTOL


def test_kl_is_the_divergence_from_the_standard_normal() -> None:
    torch.manual_seed(0)
    q = Posterior(torch.randn(5, 32), torch.rand(5, 32) + 0.1)
    expected = kl_divergence(Normal(q.mu, q.sigma), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(gaussian_kl(q), expected, rtol=LOSS_RTOL, atol=0)


def test_reconstruction_is_the_bernoulli_likelihood_summed_over_pixels() -> None:
    torch.manual_seed(0)
    logits, x = torch.randn(4, 1, 28, 28), torch.rand(4, 1, 28, 28).round()
    expected = -Bernoulli(logits=logits).log_prob(x).sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(reconstruction_loss(logits, x), expected, rtol=LOSS_RTOL, atol=0)


def test_sigma_is_the_softplus_of_the_last_rows_and_not_a_log_variance() -> None:
    torch.manual_seed(0)
    model = PuVAE(ImageContract(1, 28, 28), 10)
    x, onehot = torch.rand(2, 1, 28, 28), torch.eye(10)[[3, 7]]
    raw = {}
    model.fc3.register_forward_hook(lambda _module, _inputs, out: raw.update(out=out))
    q = model.encode(x, onehot)
    torch.testing.assert_close(q.sigma, F.softplus(raw["out"][:, 32:]))
    torch.testing.assert_close(q.mu, raw["out"][:, :32])


def test_ranking_with_one_wrong_class_is_the_softplus_of_the_margin() -> None:
    sse = torch.tensor([[4.0, 10.0], [9.0, 3.0]])
    expected = F.softplus((sse[:, 0] - sse[:, 1]) / 2 + RANKING_MARGIN).mean()
    torch.testing.assert_close(ranking_loss(sse), expected)


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.3])
def test_dead_zone_forgives_differences_up_to_tau(tau: float) -> None:
    x, candidate = torch.full((1, 1, 2, 2), 0.5), torch.tensor([[[[0.5, 0.4], [0.8, 0.1]]]])
    expected = sum(max(d - tau, 0) ** 2 for d in (0.0, 0.1, 0.3, 0.4))
    assert dead_zone_sse(x, candidate, tau).item() == pytest.approx(expected, abs=1e-7)


def test_wrong_classes_are_different_and_never_the_label() -> None:
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(20)
    drawn = wrong_classes(labels, classes=10, count=9)
    for label, row in zip(labels.tolist(), drawn.tolist(), strict=True):
        assert sorted([label, *row]) == list(range(10))


def test_few_classes_give_all_their_wrong_ones() -> None:
    assert wrong_classes(torch.tensor([0, 1, 0]), classes=2, count=3).tolist() == [[1], [0], [1]]
