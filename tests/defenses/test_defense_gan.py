"""Defense-GAN's networks and its search."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from puvae_rt.contract import ImageContract
from puvae_rt.defenses import defense_gan
from puvae_rt.defenses.defense_gan import DefenseGan, Search
from puvae_rt.errors import ContractError
from puvae_rt.models.gan import LATENT, Critic, Generator
from tests.tolerances import EXACT_ATOL

SHAPES = [pytest.param(ImageContract(1, 28, 28), id="mnist"), pytest.param(ImageContract(3, 32, 32), id="cifar10")]
GRAY = ImageContract(1, 28, 28)


def generator(seed: int = 0) -> Generator:
    """Random weights, scaled up so that images depend on their codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Generator(GRAY)
        for parameter in model.parameters():
            parameter.data *= 3
    return model.requires_grad_(False)


@pytest.mark.parametrize("contract", SHAPES)
def test_generator_and_critic_fit_each_other_and_the_images(contract: ImageContract) -> None:
    images = Generator(contract)(torch.randn(3, LATENT))
    assert images.shape == (3, *contract.shape) and images.min() >= 0 and images.max() <= 1
    assert Critic(contract)(images).shape == (3,)


def test_other_image_sizes_are_refused() -> None:
    with pytest.raises(ContractError, match="squares"):
        Generator(ImageContract(1, 64, 64))


def error(result: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return (result - images).square().mean(dim=(1, 2, 3))


def test_the_best_so_far_only_ever_gets_better_for_every_image() -> None:
    images = torch.rand(3, *GRAY.shape, generator=torch.Generator().manual_seed(1))
    errors = [error(best, images) for best in DefenseGan(generator(), Search(steps=8, restarts=2)).anytime(images)]
    assert len(errors) == 8
    assert all((later <= earlier).all() for earlier, later in pairwise(errors))
    assert (errors[-1] < errors[0]).all()


def test_a_generated_image_is_found_again() -> None:
    made = generator()(0.1 * torch.randn(2, LATENT, generator=torch.Generator().manual_seed(2)))
    first, *_, last = (error(b, made) for b in DefenseGan(generator(), Search(steps=40, restarts=2)).anytime(made))
    assert (last < 0.05 * first).all()


def test_an_image_does_not_depend_on_its_neighbours_restarts() -> None:
    """Errors are summed, not averaged, over the batch: every code descends as if alone."""
    images = torch.rand(2, *GRAY.shape, generator=torch.Generator().manual_seed(1))
    defense = DefenseGan(generator(), Search(steps=5, restarts=2))
    together, alone = defense.purify(images), defense.purify(images[:1])
    torch.testing.assert_close(together[:1], alone, atol=EXACT_ATOL, rtol=0)


def test_codes_that_no_longer_descend_at_once_lead_to_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(3, *GRAY.shape, generator=torch.Generator().manual_seed(1))
    defense = DefenseGan(generator(), Search(steps=5, restarts=2))
    together = defense.purify(images)
    monkeypatch.setattr(defense_gan, "MAX_CODES", 4)
    torch.testing.assert_close(defense.purify(images), together, atol=EXACT_ATOL, rtol=0)


def test_the_restarts_winner_is_the_closest_one() -> None:
    """With one step nothing has moved yet: the result is the best of the R starting images."""
    images = torch.rand(1, *GRAY.shape, generator=torch.Generator().manual_seed(1))
    search = Search(steps=1, restarts=7, seed=5, spread=0.1)
    z = torch.randn(7, LATENT, generator=torch.Generator().manual_seed(5)) * 0.1
    starts = generator()(z)
    expected = starts[error(starts, images.expand_as(starts)).argmin()]
    torch.testing.assert_close(DefenseGan(generator(), search).purify(images)[0], expected, atol=EXACT_ATOL, rtol=0)


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"restarts": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"spread": 0.0}, {"momentum": 1.0}]
)
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ContractError, match=next(iter(bad))):
        Search(**bad)  # type: ignore[arg-type]
