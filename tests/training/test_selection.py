"""The selection score and its tuning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from puvae_rt.contract import ImageContract, Score
from puvae_rt.data import Split
from puvae_rt.models.score import selection_scores
from puvae_rt.training import selection
from puvae_rt.training.selection import choose, projection_accuracy, tune_score


class TwoPrototypes(nn.Module):
    """A stand-in for PuVAE: the projections are a black and a white image; KL prefers the second."""

    contract, classes = ImageContract(1, 4, 4), 2

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        candidates = torch.stack([torch.zeros_like(x), torch.ones_like(x)], dim=1)
        return candidates, torch.tensor([[5.0, 0.0]]).expand(len(x), 2)


def test_without_tau_and_lambda_the_score_is_the_squared_error() -> None:
    x, candidates = torch.rand(3, 1, 4, 4), torch.rand(3, 5, 1, 4, 4)
    scores = selection_scores(x, candidates, torch.rand(3, 5), Score())
    torch.testing.assert_close(scores, (x[:, None] - candidates).square().sum(dim=(2, 3, 4)))


def test_the_lowest_index_wins_a_tie() -> None:
    assert choose(TwoPrototypes(), torch.full((1, 1, 4, 4), 0.5), Score()).item() == 0  # type: ignore[arg-type]


def test_the_kl_term_decides_where_distances_do_not() -> None:
    assert choose(TwoPrototypes(), torch.full((1, 1, 4, 4), 0.5), Score(0.0, 0.1)).item() == 1  # type: ignore[arg-type]


def test_tuning_finds_the_score_that_the_noise_asks_for(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Dark gray images of class 1, without noise: only the KL term gets them right."""
    monkeypatch.setattr(selection, "NOISE_LEVELS", (0.0,))
    images = np.full((10, 1, 4, 4), 120, np.uint8)
    split = Split(images, np.ones(10, np.int64))
    score, table = tune_score(TwoPrototypes(), split)  # type: ignore[arg-type]
    assert score.kl_weight == max(selection.KL_WEIGHTS) and score.tau == 0
    assert projection_accuracy(TwoPrototypes(), split, score) == 1.0  # type: ignore[arg-type]
    assert projection_accuracy(TwoPrototypes(), split, Score()) == 0.0  # type: ignore[arg-type]
    assert len(table) == len(selection.TAUS) * len(selection.KL_WEIGHTS)


def test_among_equals_the_paper_s_score_is_kept() -> None:
    split = Split(np.zeros((4, 1, 4, 4), np.uint8), np.zeros(4, np.int64))
    score, _ = tune_score(TwoPrototypes(), split)  # type: ignore[arg-type]
    assert score == Score()
