"""The checks tell a sound model from one that hides its gradient, draws noise, optimizes, or answers probabilities."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from puvae_rt.attacks.checks import flags, gradients_of, largest_difference, passes_that_differentiate
from tests.attacks.toy import toy

X, Y = toy().images[:10], toy().labels[:10]


def sound(x: Tensor) -> Tensor:
    return toy().classifier(x)


def quantized(x: Tensor) -> Tensor:
    return toy().classifier((8 * x).round() / 8)


def detached(x: Tensor) -> Tensor:
    return toy().classifier(x.detach())


def half(x: Tensor) -> Tensor:
    """Blind in its upper half."""
    return toy().classifier(torch.cat([x[:, :, :14].detach(), x[:, :, 14:]], dim=2))


def noisy(x: Tensor) -> Tensor:
    return toy().classifier(x + 0.1 * torch.randn_like(x))


def optimizing(x: Tensor) -> Tensor:
    with torch.enable_grad():
        z = torch.zeros_like(x).requires_grad_()
        for _ in range(3):
            (gradient,) = torch.autograd.grad((z - x.detach()).square().sum(), z)
            z = (z - 0.1 * gradient).detach().requires_grad_()
        (z**2).sum().backward()
    return toy().classifier(x)


def probabilities(x: Tensor) -> Tensor:
    return toy().classifier(x).softmax(dim=1)


def test_the_share_of_zero_gradients_is_counted() -> None:
    assert gradients_of(sound, X, Y).zero_entries < 0.05
    assert gradients_of(sound, X, Y).images_without == 0
    assert gradients_of(quantized, X, Y) == (1.0, 1.0)
    assert gradients_of(detached, X, Y) == (1.0, 1.0)
    assert gradients_of(half, X, Y).zero_entries == pytest.approx(0.5, abs=0.05)


def test_chance_is_seen() -> None:
    assert largest_difference(sound, X) == 0
    assert largest_difference(noisy, X) > 0
    assert largest_difference(lambda x: torch.full((2,), float("nan")), X) == 0
    answers = iter([torch.zeros(2), torch.tensor([0.0, float("nan")]), torch.zeros(2)])
    assert largest_difference(lambda x: next(answers), X) == float("inf")


def test_gradients_inside_a_pass_are_counted() -> None:
    assert passes_that_differentiate(sound, X) == 0
    assert passes_that_differentiate(optimizing, X) == 4


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (noisy, "differ by up to"),
        (quantized, "100% of the images have no gradient"),
        (optimizing, "computes 4 gradients itself"),
        (probabilities, "probabilities"),
    ],
)
def test_each_fault_has_its_warning(model: object, told: str) -> None:
    (warning,) = flags(model, X, Y)  # type: ignore[arg-type]
    assert told in warning
    assert flags(sound, X, Y) == []
