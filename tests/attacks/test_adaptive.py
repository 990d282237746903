"""Attacks that know the defense: they stay in their ball, break what can be broken, and see through masks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from puvae_rt.attacks import toolbox
from puvae_rt.attacks.adaptive import (
    Objective,
    Pgd,
    PuvaePipeline,
    Scores,
    pgd,
    through_choice,
    through_classification,
    through_identity,
    through_soft_choice,
)
from puvae_rt.attacks.toolbox import auto_attack_rand, square
from puvae_rt.attacks.white_box import fgsm
from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import ContractError, TargetUnavailableError
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from tests.attacks.toy import CLASSES, toy
from tests.tolerances import PIXEL_ATOL

QUICK = Pgd(steps=10, restarts=1)
COUNT = 20


def judge(x: Tensor) -> Tensor:
    return toy().classifier(x).argmax(1)


def quantised(x: Tensor) -> Tensor:
    """A defense whose gradient is zero almost everywhere."""
    return (8 * x).round() / 8


def standing(attacked: Tensor) -> float:
    return float((judge(quantised(attacked)) == toy().labels[:COUNT]).float().mean())


def attack(objective: object, epsilon: float) -> Tensor:
    x, y = toy().images[:COUNT], toy().labels[:COUNT]
    attacked = pgd(objective, lambda images: judge(quantised(images)), x, y, epsilon, QUICK)  # type: ignore[arg-type]
    assert (attacked - x).abs().max() <= epsilon + PIXEL_ATOL
    assert attacked.min() >= 0 and attacked.max() <= 1
    return attacked


def test_pgd_is_at_least_as_strong_as_fgsm_and_breaks_everything_far_out() -> None:
    x, y, model = toy().images[:COUNT], toy().labels[:COUNT], toy().classifier
    rates = {}
    for epsilon in (0.085, 0.2):
        attacked = pgd(through_classification(model), judge, x, y, epsilon, QUICK)
        rates[epsilon] = (judge(attacked) == y).float().mean()
        assert rates[epsilon] <= (judge(fgsm(model, x, y, epsilon)) == y).float().mean()
    assert rates[0.2] == 0


def test_bpda_sees_through_a_defense_without_gradients() -> None:
    blind = attack(through_classification(lambda x: toy().classifier(quantised(x))), 0.2)
    seeing = attack(through_identity(quantised, toy().classifier), 0.2)
    assert standing(blind) > 0.9
    assert standing(seeing) == 0


def test_square_sees_through_it_without_any_gradient() -> None:
    x, y = toy().images[:COUNT], toy().labels[:COUNT]
    attacked = square(lambda images: toy().classifier(quantised(images)), x, y, 0.3, CLASSES, queries=100)
    assert (attacked - x).abs().max() <= 0.3 + PIXEL_ATOL
    assert standing(attacked) < 0.5 < standing(x)


def test_auto_attack_breaks_a_randomised_defense() -> None:
    x, y = toy().images[:COUNT], toy().labels[:COUNT]

    def noisy(images: Tensor) -> Tensor:
        return toy().classifier((images + 0.05 * torch.randn_like(images)).clamp(0, 1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attacked = auto_attack_rand(noisy, x, y, 0.2, CLASSES, steps=5, samples=3)
    assert (attacked - x).abs().max() <= 0.2 + PIXEL_ATOL
    assert (judge(attacked) == y).float().mean() < 0.1 < (judge(x) == y).float().mean()


@cache
def pipeline(sigma_eps: float = 0.0) -> PuvaePipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = PuVAE(ImageContract(1, 28, 28), CLASSES, Ranks(4, 4)).requires_grad_(False)
        for parameter in (*vae.fc3.parameters(), *vae.decoder_fc.parameters(), *vae.deconvs.parameters()):
            parameter.data *= 3
    return PuvaePipeline(vae, toy().classifier, Score(), sigma_eps)


def test_the_pipeline_answers_what_is_deployed_and_passes_a_gradient_through_the_choice() -> None:
    x = toy().images[:3].clone().requires_grad_()
    candidates, _ = pipeline().vae.project(x)
    chosen = pipeline().scores(x).argmin(dim=1)
    purified = pipeline().purify(x)
    torch.testing.assert_close(purified, candidates[torch.arange(3), chosen], atol=PIXEL_ATOL, rtol=0)
    through, alone = (
        torch.autograd.grad(toy().classifier(images)[:, 0].sum(), x, retain_graph=True)[0]
        for images in (purified, candidates[torch.arange(3), chosen])
    )
    assert (through - alone).abs().max() > 0  # the other candidates have a part in it


def test_the_attack_on_the_choice_lowers_the_margin_by_which_the_true_class_wins() -> None:
    x = toy().images[:COUNT]
    y = pipeline().scores(x).argmin(dim=1)  # the classes as the choice sees them

    def margin(images: Tensor) -> Tensor:
        scores = pipeline().scores(images)
        own = F.one_hot(y, CLASSES).bool()
        return scores.masked_fill(own, float("inf")).amin(1) - scores[own]

    attacked = pgd(
        through_choice(pipeline().scores),
        lambda images: pipeline().scores(images).argmin(1),
        x,
        y,
        0.2,
        Pgd(10, restarts=1),
    )
    assert (margin(x) >= 0).all()
    assert margin(attacked).mean() < margin(x).mean()


@pytest.mark.parametrize("objective", [through_choice, through_soft_choice])
def test_any_scores_can_be_attacked(objective: Callable[[Scores], Objective]) -> None:
    """Scores of the distances to four templates, with an opinion about the classes added: no PuVAE in it."""
    x, y = toy().images[:COUNT], toy().labels[:COUNT]
    templates = torch.stack([toy().images[toy().labels == k].mean(dim=0) for k in range(CLASSES)])

    def scores(images: Tensor) -> Tensor:
        distances = (images[:, None] - templates).square().sum(dim=(2, 3, 4))
        return distances - 0.5 * toy().classifier(images).log_softmax(dim=1)

    def choice(images: Tensor) -> Tensor:
        return scores(images).argmin(dim=1)

    attacked = pgd(objective(scores), choice, x, y, 0.3, QUICK)
    assert (choice(x) == y).all()
    assert (choice(attacked) == y).float().mean() < 0.2


def test_the_soft_choice_has_the_exact_gradient_of_its_cross_entropy() -> None:
    images = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)  # "images" that are their own scores
    objective = through_soft_choice(lambda x: x, temperature=0.7)
    assert torch.autograd.gradcheck(lambda x: objective(x, torch.tensor([0, 1, 2])), images)
    expected = torch.softmax(-images / 0.7, dim=1)[range(3), range(3)].log().neg()
    torch.testing.assert_close(objective(images, torch.tensor([0, 1, 2])), expected)
    with pytest.raises(ContractError, match="temperature"):
        through_soft_choice(lambda x: x, temperature=0.0)


def test_the_choice_itself_has_no_gradient_of_its_own() -> None:
    x = toy().images[:3].clone().requires_grad_()
    candidates, scores = pipeline().project(x)
    chosen = candidates[torch.arange(3), scores.argmin(dim=1)]
    deployed = pipeline().choose(x)
    assert torch.equal(deployed, chosen)
    through, alone = (torch.autograd.grad(images.sum(), x, retain_graph=True)[0] for images in (deployed, chosen))
    torch.testing.assert_close(through, alone)


def test_averaging_over_the_noise_steadies_the_gradient() -> None:
    """EOT: the mean of 8 gradients varies less between draws than one."""
    from puvae_rt.attacks.ascent import Linf, _mean_gradient

    x, y = toy().images[:2], toy().labels[:2]
    objective = through_classification(pipeline(1.0))

    def spread(samples: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            draws = [
                _mean_gradient(objective, Linf(x, 0.1), x, torch.arange(2), y, samples) / samples for _ in range(4)
            ]
        return torch.stack(draws).std(dim=0).mean()

    assert spread(8) < 0.6 * spread(1)


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 1.5, float("nan")])
def test_an_impossible_radius_is_refused(epsilon: float) -> None:
    x, y = toy().images[:1], toy().labels[:1]
    with pytest.raises(ContractError, match="epsilon"):
        pgd(through_classification(toy().classifier), judge, x, y, epsilon)
    with pytest.raises(ContractError, match="epsilon"):
        square(toy().classifier, x, y, epsilon, CLASSES)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"restarts": 0}, {"samples": 0}, {"travel": 0.0}])
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ContractError, match=next(iter(bad))):
        Pgd(**bad)  # type: ignore[arg-type]


def test_a_missing_toolbox_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(toolbox, "import_module", absent)
    with pytest.raises(TargetUnavailableError, match="pip install"):
        square(toy().classifier, toy().images[:1], toy().labels[:1], 0.1, CLASSES)
