"""Attacks that know the defense: what the paper leaves out, and what its numbers have to be read against.

- An attack on the choice itself: a wrong class's projection is made the closest one, by the margin between the two best
  or, with a soft minimum, by all of them. It takes any function that gives the scores.
- BPDA (Athalye et al. 2018): the purifier runs forward, the gradient passes it as if it were the identity.
- PGD through the purifier, averaged over its noise (EOT); the choice of the class is passed straight through.
AutoAttack is in `standard`; its version for random defenses and the gradient-free Square attack are in `toolbox`.

All are untargeted and bounded by epsilon in L-infinity; images [N,C,H,W] in [0,1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from puvae_rt.attacks.ascent import Judge, Objective, Pgd, pgd
from puvae_rt.attacks.radii import check_size
from puvae_rt.attacks.white_box import Model
from puvae_rt.contract import Score
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.selector import Selector
from puvae_rt.models.spec import LATENT

__all__ = [
    "TEMPERATURE",
    "ChoicePipeline",
    "Judge",
    "Objective",
    "Pgd",
    "PuvaePipeline",
    "Scores",
    "pgd",
    "through_choice",
    "through_classification",
    "through_identity",
    "through_soft_choice",
]

Scores = Callable[[Tensor], Tensor]  # images [N,C,H,W] -> scores [N,K], of which a choice takes the smallest

TEMPERATURE = 2.0  # of the soft choice, in the score's unit (summed squares: two candidates differ by about 10)


class ChoicePipeline(ABC):
    """A purifier that chooses among candidates, and the classifier behind it, as one differentiable function.

    A sub-class says in `project` what the candidates and their scores are; whatever enters the scores is attacked with
    them. `temperature` is that of the soft choice, in the score's unit.
    """

    classifier: Model
    temperature: float

    @abstractmethod
    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The candidates [N,K,C,H,W] of images [N,C,H,W] and their scores [N,K], of which the smallest wins."""

    def __call__(self, x: Tensor) -> Tensor:
        """Images [N,C,H,W] -> logits [N,K]."""
        return self.classifier(self.purify(x))

    def purify(self, x: Tensor) -> Tensor:
        """The purified images [N,C,H,W]: forward the closest candidate, as deployed; backward through all of them."""
        candidates, scores = self.project(x)
        soft = torch.softmax(-scores / self.temperature, dim=1)
        hard = F.one_hot(self.winners(x, scores), scores.shape[1]).to(soft)
        weights = hard + soft - soft.detach()  # [N,K]
        return (weights[:, :, None, None, None] * candidates).sum(dim=1)

    def choose(self, x: Tensor) -> Tensor:
        """The purified images [N,C,H,W] with the gradient that the deployed system itself has: the choice has none."""
        candidates, scores = self.project(x)
        return candidates[torch.arange(len(x), device=x.device), self.winners(x, scores)]

    def winners(self, x: Tensor, scores: Tensor) -> Tensor:
        """The candidates [N] that the deployed system chooses for images x with these scores [N,K]."""
        return scores.argmin(dim=1)

    def scores(self, x: Tensor) -> Tensor:
        """The scores [N,K] of images [N,C,H,W], of which the choice takes the smallest."""
        return self.project(x)[1]

    @torch.no_grad()
    def judge(self, x: Tensor) -> Tensor:
        """The classes [N] of images [N,C,H,W] behind the defense."""
        return self(x).argmax(dim=1)


@dataclass(frozen=True)
class PuvaePipeline(ChoicePipeline):
    """PuVAE and the classifier behind it as one differentiable function.

    Gradients go through every class, also where what is deployed decodes those of a `shortlist` alone.
    """

    vae: PuVAE
    classifier: Model
    score: Score
    sigma_eps: float = 0.0
    temperature: float = TEMPERATURE
    prior: Prior | None = None
    shortlist: int | None = None

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The projection of each image on every class, [N,K,C,H,W], and its selection score, [N,K]."""
        noise = torch.randn(len(x), self.vae.classes, LATENT, device=x.device) if self.sigma_eps else None
        projections = Selector(self.vae, self.score, self.prior).project(x, noise, self.sigma_eps)
        return projections.candidates, projections.scores

    def winners(self, x: Tensor, scores: Tensor) -> Tensor:
        """The classes [N] that the deployed choice takes; those behind the shortlist cannot win."""
        if self.shortlist is None:
            return super().winners(x, scores)
        with torch.no_grad():
            return Selector(self.vae, self.score, self.prior, self.shortlist).project(x).chosen()


def through_classification(model: Model) -> Objective:
    """The objective that raises the cross-entropy of a differentiable defended classifier."""
    return lambda x, labels: F.cross_entropy(model(x), labels, reduction="none")


def through_identity(purify: Callable[[Tensor], Tensor], classifier: Model) -> Objective:
    """The objective of BPDA: the cross-entropy at the purified image, its gradient handed to the input unchanged."""

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        purified = x + (purify(x.detach()) - x).detach()
        return F.cross_entropy(classifier(purified), labels, reduction="none")

    return objective


def through_choice(scores: Scores) -> Objective:
    """The objective that raises the true class's score above that of the best wrong class.

    `scores` are those of which a choice takes the smallest, such as `ChoicePipeline.scores`.
    """

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        found = scores(x)
        own = F.one_hot(labels, found.shape[1]).bool()
        return found[own] - found.masked_fill(own, float("inf")).amin(dim=1)

    return objective


def through_soft_choice(scores: Scores, temperature: float = TEMPERATURE) -> Objective:
    """The objective that raises the cross-entropy of the soft choice, softmax(-scores / temperature).

    Its gradient is exact and comes from every class at once; `scores` are as `through_choice` takes them, and
    `temperature` is in their unit.

    Raises:
        ContractError: a temperature that is not above 0.
    """
    check_size("temperature", temperature)
    return lambda x, labels: F.cross_entropy(-scores(x) / temperature, labels, reduction="none")
