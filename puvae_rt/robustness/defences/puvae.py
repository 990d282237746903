"""PuVAE as a defence: the PyTorch model, its anytime refinement, and the deployed engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from puvae_rt.contract import Score
from puvae_rt.errors import ContractError
from puvae_rt.models.puvae import PuVAE, gaussian_kl
from puvae_rt.models.spec import LATENT
from puvae_rt.robustness.descent import Adam
from puvae_rt.runtime.results import Purified
from puvae_rt.training.losses import dead_zone_sse
from puvae_rt.training.selection import selection_scores

CHUNK = 50  # images at a time: their K projections fit the processor's cache


class Puvae:
    """The closest projection of each image (PyTorch, straight from an artefact).

    `sigma_eps` scales the sampling noise, which is drawn anew from `seed` at every call (0: deterministic).
    """

    def __init__(self, model: PuVAE, score: Score, sigma_eps: float = 0.0, seed: int = 0) -> None:
        if not 0 <= sigma_eps < float("inf"):
            raise ContractError(f"sigma_eps={sigma_eps}: expected a finite number >= 0 (--sigma-eps)")
        self.model, self.score, self.sigma_eps, self.seed = model.eval(), score, sigma_eps, seed

    @torch.no_grad()
    def purify(self, images: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.cat([self._purify(part, generator) for part in torch.split(images, CHUNK)])

    def _purify(self, x: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(len(x), self.model.classes, LATENT, generator=generator) if self.sigma_eps else None
        candidates, kl = self.model.project(x, noise, self.sigma_eps)  # [N,K,C,H,W], [N,K]
        chosen = selection_scores(x, candidates, kl, self.score).argmin(dim=1)
        return candidates[torch.arange(len(x)), chosen]


@dataclass(frozen=True)
class Refinement:
    """Descent on the K codes of each image: J(z, k) = sum_i max(|x_i - G(z,k)_i| - tau, 0)^2 + prior * |z|^2.

    The dead zone keeps it from fitting a perturbation of up to tau, the prior from leaving the manifold.
    """

    steps: int = 10
    rate: float = 0.05  # of Adam
    tau: float = 0.3
    prior: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.rate < float("inf"):
            raise ContractError(f"steps={self.steps}, rate={self.rate}: expected steps >= 1 and rate > 0")
        if not 0 <= self.tau < 1 or not 0 <= self.prior < float("inf"):
            raise ContractError(f"tau={self.tau}, prior={self.prior}: expected 0 <= tau < 1 and prior >= 0")


class RefinedPuvae:
    """PuVAE whose codes go on improving until they are asked for: an `Anytime` defence.

    The first result is the feed-forward one; a later one replaces it, image by image, only where J is lower.
    """

    def __init__(self, model: PuVAE, score: Score, refinement: Refinement = Refinement()) -> None:
        self.model, self.score, self.refinement = model.eval(), score, refinement

    def purify(self, images: Tensor) -> Tensor:
        return torch.cat([self._last(part) for part in torch.split(images, CHUNK)])

    def anytime(self, images: Tensor) -> Iterator[Tensor]:
        """The best projection so far of each image [N,C,H,W]: feed-forward, then after each step."""
        everyone, onehot = torch.arange(len(images)), torch.eye(self.model.classes).repeat(len(images), 1)  # [N*K,K]
        z, candidates, scores = self._project(images, onehot)
        first = scores.argmin(dim=1)
        best, best_objective = candidates[everyone, first], None
        yield best
        adam = Adam(z, self.refinement.rate)
        for _ in range(self.refinement.steps):
            candidates, objective, gradient = self._descend(images, z, onehot)
            if best_objective is None:
                best_objective = objective[everyone, first]
            lowest, chosen = objective.min(dim=1)  # over the classes
            better = lowest < best_objective
            best = torch.where(better[:, None, None, None], candidates[everyone, chosen], best)
            best_objective = torch.where(better, lowest, best_objective)
            z = adam.step(z, gradient)
            yield best

    @torch.no_grad()
    def _project(self, x: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's codes [N*K,32], their images [N,K,C,H,W] and selection scores [N,K]."""
        q = self.model.head(self.model.features(x).repeat_interleave(self.model.classes, dim=0), onehot)
        candidates = self._decode(q.mu, onehot, x)
        return q.mu, candidates, selection_scores(x, candidates, gaussian_kl(q).view(len(x), -1), self.score)

    def _decode(self, z: Tensor, onehot: Tensor, x: Tensor) -> Tensor:
        return self.model.decode(z, onehot).view(len(x), self.model.classes, *x.shape[1:])

    def objective(self, x: Tensor, z: Tensor, candidates: Tensor) -> Tensor:
        """J of images [N,C,H,W], their codes [N*K,32] and projections [N,K,C,H,W]: [N,K]."""
        prior = z.square().sum(dim=1).view(len(x), -1)
        return dead_zone_sse(x[:, None], candidates, self.refinement.tau) + self.refinement.prior * prior

    def _descend(self, x: Tensor, z: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Projections [N,K,C,H,W], J [N,K], and the gradient of J at z [N*K,32]."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            candidates = self._decode(z, onehot, x)
            objective = self.objective(x, z, candidates)
            (gradient,) = torch.autograd.grad(objective.sum(), z)
        return candidates.detach(), objective.detach(), gradient

    def _last(self, images: Tensor) -> Tensor:
        for best in self.anytime(images):
            result = best
        return result


class Engine(Protocol):
    """What `puvae_rt.Purifier` offers here."""

    def purify(self, images: object) -> Purified: ...


class DeployedPuvae:
    """PuVAE as it is deployed: `engine` is a `puvae_rt.Purifier` of a shipped model or a bundle."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def purify(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.engine.purify(np.ascontiguousarray(images.numpy())).images)
