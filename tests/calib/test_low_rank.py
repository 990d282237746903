"""Low rank from activations: exact where the outputs fill no more dimensions, and refused where it makes no sense."""

from __future__ import annotations

import pytest
import torch

from calib.low_rank import expanded, factor
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from tests.tolerances import EXACT_ATOL, LAST_DIRECTION_ATOL

SHAPE = ImageContract(1, 28, 28)


@pytest.fixture(scope="module")
def model() -> PuVAE:
    torch.manual_seed(0)
    return PuVAE(SHAPE, 10).eval().requires_grad_(False)


def test_a_rank_that_holds_every_activation_changes_nothing(model: PuVAE) -> None:
    """Sixteen images span at most sixteen dimensions, and their differences from the mean one less."""
    images = torch.rand(16, *SHAPE.shape)
    clean = images.clone()
    thin = factor(model, images, Ranks(fc1=40, fc2=40))
    assert torch.equal(images, clean), "the caller's images were changed"
    features = model.features(clean[1::2])  # the odd ones are not made noisy
    torch.testing.assert_close(thin.features(clean[1::2]), features, atol=EXACT_ATOL, rtol=0)


def test_a_smaller_rank_keeps_the_leading_directions(model: PuVAE) -> None:
    images = torch.rand(24, *SHAPE.shape)
    errors = []
    for rank in (1, 4, 12):
        thin = factor(model, images, Ranks(fc1=rank, fc2=rank))
        errors.append((thin.features(images) - model.features(images)).square().mean().item())
    assert errors[0] > errors[1] > errors[2]


def test_the_trunk_of_full_rank_changes_nothing(model: PuVAE) -> None:
    """223 of 224 directions: what is missing is the least of them."""
    images = torch.rand(6, *SHAPE.shape)
    thin = factor(model, images, Ranks(trunk=223))
    torch.testing.assert_close(thin.trunk(images), model.trunk(images), atol=LAST_DIRECTION_ATOL, rtol=0)


def test_a_smaller_rank_of_the_trunk_keeps_the_leading_directions(model: PuVAE) -> None:
    images = torch.rand(6, *SHAPE.shape)
    errors = [
        (factor(model, images, Ranks(trunk=rank)).trunk(images) - model.trunk(images)).square().mean().item()
        for rank in (2, 16, 96)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_the_rest_of_the_network_is_kept(model: PuVAE) -> None:
    thin = factor(model, torch.rand(8, *SHAPE.shape), Ranks(4, 4))
    for name, value in model.state_dict().items():
        if not name.startswith(("fc1_image", "fc2")):  # the trunk stays dense too
            assert torch.equal(value, thin.state_dict()[name]), name


@pytest.mark.parametrize(
    "ranks, message",
    [
        (Ranks(4, 0), r"fc2: got 0, expected 1 to 1023 \(--fc2"),
        (Ranks(1024, 4), r"expected 1 to 1023 \(--fc1"),
        (Ranks(4, 4, 224), r"expected 1 to 223 \(--trunk"),
    ],
)
def test_impossible_ranks_are_refused_with_the_flag_to_change(model: PuVAE, ranks: Ranks, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        factor(model, torch.rand(4, *SHAPE.shape), ranks)


def test_a_thin_model_multiplied_back_is_the_same_function_and_can_be_made_thinner(model: PuVAE) -> None:
    images = torch.rand(12, *SHAPE.shape)
    thin = factor(model, images, Ranks(8, 8, 32))
    dense = expanded(thin)
    assert dense.ranks == Ranks()
    torch.testing.assert_close(dense.features(images), thin.features(images), atol=EXACT_ATOL, rtol=0)
    thinner = factor(thin, images, Ranks(4, 8, 32))
    direct = factor(model, images, Ranks(4, 8, 32))
    assert thinner.ranks == Ranks(4, 8, 32)

    def error(other: PuVAE) -> float:
        return (other.features(images) - model.features(images)).square().mean().item()

    assert error(thin) < error(thinner) < 1.5 * error(direct)
