"""Our attacks against the Adversarial Robustness Toolbox on the same classifier, and their norm bounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from art.attacks.evasion import BasicIterativeMethod, CarliniL2Method, FastGradientMethod
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from puvae_rt.attacks import white_box as attacks
from puvae_rt.attacks.constants import ALPHA, IFGSM_STEP_SHARE, IFGSM_STEPS
from tests.attacks.toy import CLASSES, SHAPE, toy
from tests.tolerances import ATTACK_SUCCESS, PIXEL_ATOL

EPSILONS = (0.08, 0.09)  # where the attacks succeed on some images and fail on others
CW_IMAGES = 20
Ours = Callable[[nn.Module, Tensor, Tensor, bool], Tensor]


class Case(NamedTuple):
    ours: Callable[..., Tensor]
    theirs: type
    settings: Callable[[float], dict[str, object]]


CASES = {
    "fgsm": Case(attacks.fgsm, FastGradientMethod, lambda epsilon: {"eps": epsilon}),
    "ifgsm": Case(
        attacks.ifgsm,
        BasicIterativeMethod,
        lambda epsilon: {
            "eps": epsilon,
            "eps_step": IFGSM_STEP_SHARE * epsilon,
            "max_iter": IFGSM_STEPS,
            "verbose": False,
        },
    ),
}


@cache
def estimator() -> PyTorchClassifier:
    return PyTorchClassifier(toy().classifier, nn.CrossEntropyLoss(), SHAPE, CLASSES, clip_values=(0.0, 1.0))


def aims(targeted: bool) -> Tensor:
    labels = toy().labels
    return attacks.random_targets(labels, CLASSES, torch.Generator().manual_seed(1)) if targeted else labels


def success(attacked: Tensor, targeted: bool) -> float:
    hit = toy().classifier(attacked).argmax(1) == aims(targeted)[: len(attacked)]
    return float((hit if targeted else ~hit).float().mean())


def theirs(attack: type, targeted: bool, **settings: object) -> Tensor:
    aim = np.eye(CLASSES, dtype=np.float32)[aims(targeted).numpy()]
    return torch.from_numpy(attack(estimator(), targeted=targeted, **settings).generate(toy().images.numpy(), aim))


def test_the_toy_classifier_is_worth_attacking() -> None:
    assert success(toy().images, targeted=False) < 0.02


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", CASES)
def test_gradient_sign_attacks_equal_the_toolbox(name: str, epsilon: float, targeted: bool) -> None:
    case = CASES[name]
    ours = case.ours(toy().classifier, toy().images, aims(targeted), epsilon, targeted=targeted)
    reference = theirs(case.theirs, targeted, **case.settings(epsilon))
    assert abs(success(ours, targeted) - success(reference, targeted)) <= ATTACK_SUCCESS
    for attacked in (ours, reference):
        assert (attacked - toy().images).abs().max() <= epsilon + PIXEL_ATOL
        assert attacked.min() >= 0 and attacked.max() <= 1


def test_attacks_are_neither_hopeless_nor_certain_at_these_radii() -> None:
    rates = [success(attacks.fgsm(toy().classifier, toy().images, toy().labels, e), False) for e in EPSILONS]
    assert 0.05 < rates[0] < rates[1] < 0.95


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
def test_carlini_wagner_succeeds_as_often_as_the_toolbox_with_no_larger_perturbations(targeted: bool) -> None:
    images, aim = toy().images[:CW_IMAGES], aims(targeted)[:CW_IMAGES]
    ours = attacks.carlini_wagner_l2(toy().classifier, images, aim, targeted, iterations=60, searches=3)
    reference = torch.from_numpy(
        CarliniL2Method(
            estimator(),
            targeted=targeted,
            max_iter=20,
            binary_search_steps=3,
            learning_rate=0.05,
            initial_const=attacks.CW_START_C,
            batch_size=CW_IMAGES,
            verbose=False,
        ).generate(images.numpy(), np.eye(CLASSES, dtype=np.float32)[aim.numpy()])
    )
    assert abs(success(ours, targeted) - success(reference, targeted)) <= ATTACK_SUCCESS
    sizes = [(a - images).flatten(1).norm(dim=1).median() for a in (ours, reference)]
    assert sizes[0] <= 1.1 * sizes[1]
    assert ours.min() >= 0 and ours.max() <= 1


def test_carlini_wagner_returns_the_image_where_it_fails() -> None:
    def stubborn(x: Tensor) -> Tensor:  # class 0 whatever the image
        return torch.tensor([1.0, 0.0]).repeat(len(x), 1) + 0 * x.sum(dim=(1, 2, 3))[:, None]

    x = torch.rand(3, *SHAPE)
    attacked = attacks.carlini_wagner_l2(stubborn, x, torch.zeros(3, dtype=torch.long), iterations=20, searches=2)
    assert torch.equal(attacked, x)


@pytest.mark.parametrize("targeted", [False, True], ids=["untargeted", "targeted"])
def test_rand_fgsm_is_a_random_step_and_then_fgsm_inside_one_ball(targeted: bool) -> None:
    epsilon = 0.3
    given = (toy().classifier, toy().images, aims(targeted), epsilon, ALPHA)
    attacked = attacks.rand_fgsm(*given, torch.Generator().manual_seed(0), targeted)
    start = toy().images + ALPHA * torch.randn(toy().images.shape, generator=torch.Generator().manual_seed(0)).sign()
    reference = FastGradientMethod(estimator(), eps=epsilon - ALPHA, targeted=targeted).generate(
        start.clamp(0, 1).numpy(), np.eye(CLASSES, dtype=np.float32)[aims(targeted).numpy()]
    )
    torch.testing.assert_close(attacked, torch.from_numpy(reference), atol=PIXEL_ATOL, rtol=0)
    assert (attacked - toy().images).abs().max() <= epsilon + PIXEL_ATOL


def test_random_targets_are_seeded_and_never_the_truth() -> None:
    labels = torch.arange(10).repeat(50)
    first, again = (attacks.random_targets(labels, 10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not (first == labels).any() and len(first.unique()) == 10
