"""How well a projection picks the class: what trainings and the coefficient search are judged by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from puvae_rt.contract import Score
from puvae_rt.data import Split
from puvae_rt.models.puvae import PuVAE
from puvae_rt.training.losses import dead_zone_sse

CHUNK = 250  # images at a time


def selection_scores(x: Tensor, candidates: Tensor, kl: Tensor, score: Score) -> Tensor:
    """x [N,C,H,W], candidates [N,K,C,H,W], kl [N,K] -> score [N,K], the smallest wins."""
    return dead_zone_sse(x[:, None], candidates, score.tau) + score.kl_weight * kl


@torch.no_grad()
def choose(model: PuVAE, x: Tensor, score: Score) -> Tensor:
    """The class of the winning projection of images [N,C,H,W] in [0,1]: [N]."""
    chosen = [selection_scores(part, *model.project(part), score).argmin(dim=1) for part in torch.split(x, CHUNK)]
    return torch.cat(chosen)


def projection_accuracy(model: PuVAE, split: Split, score: Score) -> float:
    """Share of images whose winning projection is of their class."""
    images, labels = split.batch(slice(None))
    return float((choose(model, torch.from_numpy(images), score).numpy() == labels).mean())


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Share of images that a classifier gets right."""
    images, labels = split.batch(slice(None))
    logits = torch.cat([model(part) for part in torch.split(torch.from_numpy(images), CHUNK)])
    return float((logits.argmax(dim=1).numpy() == labels).mean())
