"""The whole choice of a projection: PuVAE, the score, and the prior that ranks the classes and enters the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from puvae_rt.contract import Score
from puvae_rt.errors import ContractError
from puvae_rt.models.header import require_shortlist
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.score import selection_scores


class Projections(NamedTuple):
    """The projections of N images on m classes of each."""

    candidates: Tensor  # [N,m,C,H,W] in [0,1]
    scores: Tensor  # [N,m]; the smallest one wins, the lowest class on a tie
    classes: Tensor  # [N,m] int64

    def winners(self) -> Tensor:
        """The winning projections [N,C,H,W]."""
        images = torch.arange(len(self.scores), device=self.scores.device)
        return self.candidates[images, self._places()]

    def chosen(self) -> Tensor:
        """The classes [N] of the winning projections."""
        return self.classes.gather(1, self._places()[:, None]).squeeze(1)

    def _places(self) -> Tensor:
        """Where the winners [N] stand among the m."""
        best = self.scores == self.scores.amin(dim=1, keepdim=True)
        return torch.where(best, self.classes, torch.iinfo(self.classes.dtype).max).argmin(dim=1)


@dataclass(frozen=True)
class Selector:
    """A PuVAE with its choice; ContractError when score, prior and shortlist do not belong together.

    Attributes:
        vae: K classes.
        score: what is minimized.
        prior: log p(k | x) for the same images and classes; None chooses by distance (and KL) alone.
        shortlist: how many classes are decoded, those that the prior ranks first; None is all K.
    """

    vae: PuVAE
    score: Score
    prior: Prior | None = None
    shortlist: int | None = None

    def __post_init__(self) -> None:
        if self.prior is None and (self.score.prior_weight or self.shortlist is not None):
            raise ContractError(
                f"prior_weight={self.score.prior_weight}, shortlist={self.shortlist}: expected a prior; give one, or "
                "leave both out"
            )
        if self.shortlist is not None:
            require_shortlist(self.shortlist, self.vae.classes)

    def project(self, x: Tensor, noise: Tensor | None = None, sigma_eps: float = 0.0) -> Projections:
        """The projections of images x [N,C,H,W] in [0,1]; `noise` [N,m,LATENT] and `sigma_eps` as `PuVAE.project`."""
        log_p = None if self.prior is None else self.prior.log_probabilities(x)
        classes = None
        if log_p is not None and self.shortlist is not None:
            classes = log_p.topk(self.shortlist, dim=1).indices
        candidates, kl = self.vae.project(x, noise, sigma_eps, classes)
        scores = selection_scores(x, candidates, kl, self.score)
        if log_p is not None:
            own = log_p if classes is None else log_p.gather(1, classes)
            scores = scores - self.score.prior_weight * error_scale(self.vae, x)[:, None] * own
        everyone = torch.arange(self.vae.classes, device=x.device).expand(len(x), -1)
        return Projections(candidates, scores, everyone if classes is None else classes)

    def all_classes(self) -> Selector:
        """The same choice with every class decoded."""
        return Selector(self.vae, self.score, self.prior)


def error_scale(vae: PuVAE, x: Tensor) -> Tensor:
    """c(x) [N] of images x [N,C,H,W]: how large a squared error is on images of this contrast (see `Score`)."""
    stats = vae.image_stats(x)
    return torch.ones(len(x), dtype=x.dtype, device=x.device) if stats is None else stats.error_scale()
