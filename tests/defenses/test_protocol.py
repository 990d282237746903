"""The protocol of defenses: wrapping, and stopping at a budget."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from puvae_rt.defenses.protocol import Anytime, Defended, NoDefense, purify_within
from puvae_rt.errors import ContractError
from tests.attacks.toy import toy


class Halving:
    """Each step halves the image and takes one second of the clock below."""

    def __init__(self, steps: int) -> None:
        self.steps, self.now = steps, 0.0

    def clock(self) -> float:
        return self.now

    def purify(self, images: Tensor) -> Tensor:
        return images / 2**self.steps

    def anytime(self, images: Tensor) -> Iterator[Tensor]:
        for step in range(1, self.steps + 1):
            self.now += 1.0
            yield images / 2**step


def test_a_defended_classifier_classifies_what_the_defense_gives_back() -> None:
    _, images, labels = toy()
    blank = torch.zeros_like(images)

    class Blanking(NoDefense):
        def purify(self, images: Tensor) -> Tensor:
            return blank[: len(images)]

    plain, blanked = (Defended(d, toy().classifier) for d in (NoDefense(), Blanking()))
    assert (plain.classify(images) == labels).float().mean() > 0.98
    torch.testing.assert_close(plain(images), toy().classifier(images))
    assert len(blanked.classify(images).unique()) == 1


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 1), (1.0, 1), (2.5, 3), (100.0, 5)])
def test_a_budget_stops_an_anytime_defense_with_its_best_so_far(seconds: float, steps: int) -> None:
    defense, x = Halving(5), torch.ones(2, 1, 4, 4)
    assert isinstance(defense, Anytime)
    assert torch.equal(purify_within(defense, x, seconds, defense.clock), x / 2**steps)


def test_a_defense_that_is_not_anytime_runs_whole() -> None:
    x = torch.ones(1, 1, 4, 4)
    assert not isinstance(NoDefense(), Anytime)
    assert torch.equal(purify_within(NoDefense(), x, 1e-9), x)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_budget_has_to_be_positive(seconds: float) -> None:
    with pytest.raises(ContractError, match="time budget"):
        purify_within(NoDefense(), torch.ones(1, 1, 4, 4), seconds)
