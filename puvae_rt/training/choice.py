"""How much a prior counts in the selection score, and how many classes are decoded: chosen on validation images.

They are clean, noisy, and attacked on a source model that neither PuVAE's training nor the prior's has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from puvae_rt.contract import MIN_SHORTLIST, Score
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.score import add_kl, dead_zone_sse
from puvae_rt.models.selector import Selector, error_scale
from puvae_rt.training.device import device_of
from puvae_rt.training.recipes import attack_scale
from puvae_rt.training.selection import CHUNK, TAUS

WEIGHTS = tuple(10 ** (exponent / 4) for exponent in range(-4, 11))  # .1 to 316
FLAT = 0.002  # accuracies this close to the best are as good
SHORTLIST_LOSS = 0.001  # of accuracy on any kind of image, against decoding every class


class Choice(NamedTuple):
    """A PuVAE's choice with its prior, and the accuracies by which it was found."""

    selector: Selector
    table: list[dict[str, float]]  # one row for each score: its numbers, and the accuracy on each kind of image
    recall: dict[str, dict[str, float]]  # "3" classes decoded -> accuracy on each kind of image


def tune_choice(vae: PuVAE, prior: Prior, distance: Score, inputs: Mapping[str, Tensor], labels: Tensor) -> Choice:
    """The score and the shortlist that choose best over all kinds of images.

    Of the weights whose mean accuracy is within `FLAT` of the best, the one in the middle: the accuracy of a choice
    hardly depends on it there. The shortlist is the smallest that loses `SHORTLIST_LOSS` at most on every kind.

    Args:
        vae: K classes.
        prior: of the same images and classes.
        distance: the score without the prior; its KL term stays.
        inputs: images [N,C,H,W] in [0,1] by their kind.
        labels: of all kinds, [N].
    """
    taus = sorted({distance.tau, *(attack_scale(vae.contract) * tau for tau in TAUS)})
    scores = [Score(tau, distance.kl_weight, weight) for tau, weight in product(taus, WEIGHTS)]
    kinds = {kind: _terms(vae, prior, distance, taus, x) for kind, x in inputs.items()}
    table = [
        {"tau": score.tau, "prior_weight": score.prior_weight}
        | {kind: _accuracy(terms.scores(score), labels) for kind, terms in kinds.items()}
        for score in scores
    ]
    means = torch.tensor([[row[kind] for kind in kinds] for row in table]).mean(dim=1)
    best = scores[int(means.argmax())]
    flat = [s for s, mean in zip(scores, means, strict=True) if s.tau == best.tau and mean >= means.max() - FLAT]
    score = flat[len(flat) // 2]
    recall = {
        str(m): {kind: _accuracy(terms.scores(score, m), labels) for kind, terms in kinds.items()}
        for m in range(MIN_SHORTLIST, vae.classes + 1)
    }
    whole = recall[str(vae.classes)]
    shortlist = next(int(m) for m, row in recall.items() if all(row[k] >= whole[k] - SHORTLIST_LOSS for k in kinds))
    return Choice(Selector(vae, score, prior, shortlist if shortlist < vae.classes else None), table, recall)


class _Terms(NamedTuple):
    """What the scores of some images are made of."""

    distances: dict[float, Tensor]  # tau -> [N,K], the KL term added
    surprise: Tensor  # -log p(k | x) in the distances' scale, [N,K]
    ranks: Tensor  # of each class by the prior, [N,K]; 0 is the likeliest

    def scores(self, score: Score, shortlist: int | None = None) -> Tensor:
        """The scores [N,K]; +inf behind the shortlist."""
        scores = self.distances[score.tau] + score.prior_weight * self.surprise
        return scores if shortlist is None else scores.masked_fill(self.ranks >= shortlist, float("inf"))


@torch.no_grad()
def _terms(vae: PuVAE, prior: Prior, distance: Score, taus: list[float], images: Tensor) -> _Terms:
    distances: dict[float, list[Tensor]] = {tau: [] for tau in taus}
    surprise = []
    for part in torch.split(images, CHUNK):
        x = part.to(device_of(vae))
        candidates, kl = vae.project(x)
        for tau, parts in distances.items():
            parts.append(add_kl(dead_zone_sse(x[:, None], candidates, tau), kl, distance))
        surprise.append(-error_scale(vae, x)[:, None] * prior.log_probabilities(x))
    whole = torch.cat(surprise)
    return _Terms({tau: torch.cat(parts) for tau, parts in distances.items()}, whole, whole.argsort(1).argsort(1))


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmin(dim=1) == labels.to(scores.device)).float().mean())


def choice_history(choice: Choice) -> dict[str, Any]:
    """What the metadata of the weights say of how the choice was found."""
    return {"choice_search": choice.table, "shortlist_search": choice.recall}
