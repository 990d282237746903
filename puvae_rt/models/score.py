"""The selection score (DESIGN, "Selection score"): how far an image is from its projections. The smallest one wins."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from puvae_rt.contract import Score


def dead_zone_sse(x: Tensor, candidates: Tensor, tau: float) -> Tensor:
    """The squared error beyond a dead zone, sum_i max(|x_i - x_hat_i| - tau, 0)^2 over pixels [...,C,H,W]: [...]."""
    excess = F.relu((x - candidates).abs() - tau)
    return excess.square().sum(dim=(-3, -2, -1))


def add_kl(distances: Tensor, kl: Tensor, score: Score) -> Tensor:
    """The distances with each class's KL term, weighted as the score says; all [N,K]."""
    return distances + score.kl_weight * kl


def selection_scores(x: Tensor, candidates: Tensor, kl: Tensor, score: Score) -> Tensor:
    """The score [N,K] of images x [N,C,H,W] and their projections, without a prior: the smallest one wins.

    Args:
        x: images in [0,1].
        candidates: their projections on every class, [N,K,C,H,W].
        kl: KL(q(z|x,k) || N(0,1)), [N,K].
        score: dead zone and weight of the KL term.
    """
    return add_kl(dead_zone_sse(x[:, None], candidates, score.tau), kl, score)
