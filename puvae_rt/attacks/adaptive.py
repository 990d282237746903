"""Attacks that know the defense: what the paper leaves out, and what its numbers have to be read against.

- PGD through the purifier, averaged over its noise (EOT); the choice of the class is passed straight through.
- BPDA (Athalye et al. 2018): the purifier runs forward, the gradient passes it as if it were the identity.
- An attack on the choice itself: a wrong class's projection is made the closest one.
AutoAttack and the gradient-free Square attack are in `toolbox`.

All are untargeted and bounded by epsilon in L-infinity; images [N,C,H,W] in [0,1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from puvae_rt.attacks.radii import check_epsilon
from puvae_rt.attacks.white_box import Model
from puvae_rt.contract import Score
from puvae_rt.errors import ContractError
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.score import selection_scores
from puvae_rt.models.spec import LATENT

Objective = Callable[[Tensor, Tensor], Tensor]  # images [N,C,H,W], labels [N] -> what the attacker raises, [N]
Judge = Callable[[Tensor], Tensor]  # images -> the class that the defended system answers, [N]

TEMPERATURE = 2.0  # of the soft choice, in the score's unit (summed squares: two candidates differ by about 10)


@dataclass(frozen=True)
class Pgd:
    """Settings of projected gradient ascent (Madry et al. 2018); ContractError for impossible ones.

    Attributes:
        steps: in each restart.
        travel: how many epsilons all steps together could go, so that a random start can cross the ball.
        restarts: random starts; an image that is wrong once is not tried again.
        samples: gradients that are averaged at each step (EOT).
        seed: of the random starts.
    """

    steps: int = 40
    travel: float = 2.5
    restarts: int = 2
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "samples"):
            if getattr(self, name) < 1:
                raise ContractError(f"{name}={getattr(self, name)}: expected at least 1")
        if not 0 < self.travel < float("inf"):
            raise ContractError(f"travel={self.travel}: expected a number of epsilons > 0")


def pgd(objective: Objective, judge: Judge, x: Tensor, labels: Tensor, epsilon: float, settings: Pgd = Pgd()) -> Tensor:
    """Attacked images [N,C,H,W]: one inside the ball that `judge` gets wrong where one was met, else the last iterate.

    Args:
        objective: what the attacker raises, of images and labels: [N].
        judge: the class that the defended system answers: [N].
        x: clean images [N,C,H,W] in [0,1].
        labels: true classes [N].
        epsilon: radius of the L-infinity ball.
        settings: steps, restarts and samples.
    Raises:
        ContractError: epsilon is not in (0, 1].
    """
    check_epsilon(epsilon)
    generator = torch.Generator().manual_seed(settings.seed)
    low, high = (x - epsilon).clamp(0, 1), (x + epsilon).clamp(0, 1)
    attacked = x.clone()
    standing = judge(x) == labels
    for _ in range(settings.restarts):
        start = x + epsilon * (2 * torch.rand(x.shape, generator=generator) - 1)
        current = torch.minimum(torch.maximum(start, low), high)
        for _ in range(settings.steps):
            todo = standing.nonzero().squeeze(1)
            if not len(todo):
                return attacked
            gradient = _mean_gradient(objective, current[todo], labels[todo], settings.samples)
            moved = current[todo] + settings.travel / settings.steps * epsilon * gradient.sign()
            current[todo] = attacked[todo] = torch.minimum(torch.maximum(moved, low[todo]), high[todo])
            standing[todo] = judge(attacked[todo]) == labels[todo]
    return attacked


def _mean_gradient(objective: Objective, x: Tensor, labels: Tensor, samples: int) -> Tensor:
    x = x.detach().requires_grad_()
    total = torch.stack([objective(x, labels).sum() for _ in range(samples)]).sum()
    (gradient,) = torch.autograd.grad(total, x)
    return gradient


@dataclass(frozen=True)
class PuvaePipeline:
    """PuVAE and the classifier behind it as one differentiable function."""

    vae: PuVAE
    classifier: Model
    score: Score
    sigma_eps: float = 0.0
    temperature: float = TEMPERATURE

    def __call__(self, x: Tensor) -> Tensor:
        """Images [N,C,H,W] -> logits [N,K]."""
        return self.classifier(self.purify(x))

    def purify(self, x: Tensor) -> Tensor:
        """The purified images [N,C,H,W]: forward the closest candidate, as deployed; backward through all of them."""
        candidates, scores = self._project(x)
        soft = torch.softmax(-scores / self.temperature, dim=1)
        hard = F.one_hot(scores.argmin(dim=1), self.vae.classes).to(soft)
        weights = hard + soft - soft.detach()  # [N,K]
        return (weights[:, :, None, None, None] * candidates).sum(dim=1)

    def scores(self, x: Tensor) -> Tensor:
        """The scores [N,K] of images [N,C,H,W], of which the choice takes the smallest."""
        return self._project(x)[1]

    @torch.no_grad()
    def judge(self, x: Tensor) -> Tensor:
        """The classes [N] of images [N,C,H,W] behind the defense."""
        return self(x).argmax(dim=1)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.randn(len(x), self.vae.classes, LATENT) if self.sigma_eps else None
        candidates, kl = self.vae.project(x, noise, self.sigma_eps)
        return candidates, selection_scores(x, candidates, kl, self.score)


def through_classification(model: Model) -> Objective:
    """The objective that raises the cross-entropy of a differentiable defended classifier."""
    return lambda x, labels: F.cross_entropy(model(x), labels, reduction="none")


def through_identity(purify: Callable[[Tensor], Tensor], classifier: Model) -> Objective:
    """The objective of BPDA: the cross-entropy at the purified image, its gradient handed to the input unchanged."""

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        purified = x + (purify(x.detach()) - x).detach()
        return F.cross_entropy(classifier(purified), labels, reduction="none")

    return objective


def through_choice(pipeline: PuvaePipeline) -> Objective:
    """The objective that raises the true class's score above that of the best wrong class."""

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        scores = pipeline.scores(x)
        own = F.one_hot(labels, scores.shape[1]).bool()
        return scores[own] - scores.masked_fill(own, float("inf")).amin(dim=1)

    return objective
