"""Models, attacks, defenses and training tasks make every tensor where their input is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from puvae_rt.attacks.adaptive import Pgd, PuvaePipeline, pgd, through_choice, through_classification, through_identity
from puvae_rt.attacks.white_box import carlini_wagner_l2, fgsm, ifgsm, rand_fgsm, random_targets
from puvae_rt.contract import ImageContract, Score
from puvae_rt.defenses.defense_gan import DefenseGan
from puvae_rt.defenses.gan_search import Search
from puvae_rt.defenses.magnet import MagNet
from puvae_rt.defenses.protocol import Defense, classify
from puvae_rt.defenses.puvae import Puvae, RefinedPuvae, Refinement
from puvae_rt.defenses.trivial import BitDepth, Jpeg, Median, Threshold
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.gan import Generator
from puvae_rt.models.magnet import reformer
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import PRIORS, Ranks
from tests.other_device import META, OtherDevice

CLASSES, IMAGES = 10, 4
GRAY, COLOR = ImageContract(1, 28, 28), ImageContract(3, 32, 32)
SCORE = Score(0.1, 0.3, 1.0)
Make = Callable[[ImageContract], Defense]


@pytest.fixture(autouse=True)
def watched() -> Iterator[None]:
    with OtherDevice():
        yield


def images(contract: ImageContract) -> tuple[Tensor, Tensor]:
    labels = torch.zeros(IMAGES, dtype=torch.long, device=META)
    return torch.rand(IMAGES, *contract.shape, device=META), labels


def there(module: nn.Module) -> nn.Module:
    return module.to(META).eval().requires_grad_(False)


def puvae(contract: ImageContract) -> tuple[PuVAE, Prior]:
    normalized = contract.channels == 3
    prior = Prior(contract, CLASSES, PRIORS[contract.channels], normalized)
    vae = PuVAE(contract, CLASSES, Ranks(4, 4, 4), normalized)
    there(vae), there(prior)
    return vae, prior


def test_the_stand_in_tells_devices_apart() -> None:
    x = torch.rand(2, 3, device=META)
    for mixed in (
        lambda: x + torch.rand(2, 3),
        lambda: torch.eye(3)[torch.zeros(2, dtype=torch.long, device=META)],
        lambda: torch.rand(2, 3).gather(1, torch.zeros(2, 1, dtype=torch.long, device=META)),
        lambda: x[torch.zeros(1, dtype=torch.long)],
    ):
        with pytest.raises(AssertionError, match="expected one device"):
            mixed()
    assert (x + torch.tensor(1.0)).is_meta and x.sum().item() == 0 and x.cpu().device.type == "cpu"
    assert x[x > 0].is_meta


DEFENSES: dict[str, Make] = {
    "threshold": lambda _: Threshold(),
    "bit_depth": lambda _: BitDepth(),
    "jpeg": lambda _: Jpeg(),
    "median": lambda _: Median(),
    "magnet": lambda contract: MagNet(there(reformer(contract))),
    "defense_gan": lambda contract: DefenseGan(there(Generator(contract)), Search(steps=2, restarts=2)),
    "puvae": lambda contract: Puvae(puvae(contract)[0], Score(0.1), sigma_eps=0.1),
    "puvae, prior": lambda contract: Puvae(puvae(contract)[0], SCORE, prior=puvae(contract)[1], shortlist=3),
    "refined": lambda contract: RefinedPuvae(
        puvae(contract)[0], SCORE, Refinement(steps=2), puvae(contract)[1], shortlist=3
    ),
}


@pytest.mark.parametrize("contract", [GRAY, COLOR], ids=["gray", "color"])
@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_stays_on_the_images_device(name: str, contract: ImageContract) -> None:
    x, _ = images(contract)
    purified = DEFENSES[name](contract).purify(x)
    assert purified.is_meta and purified.shape == x.shape
    assert classify(there(classifier("A", contract, CLASSES, normalized=True)), purified).is_meta


def test_white_box_attacks_stay_on_the_images_device() -> None:
    x, y = images(GRAY)
    model, generator = there(classifier("A", GRAY, CLASSES)), torch.Generator().manual_seed(0)
    aims = random_targets(y, CLASSES, generator)
    attacked = [fgsm(model, x, aims, 0.3, targeted=True), ifgsm(model, x, y, 0.3)]
    attacked += [rand_fgsm(model, x, y, 0.3, 0.05, generator), carlini_wagner_l2(model, x, y, False, 10, 2)]
    assert all(each.is_meta for each in attacked)


@pytest.mark.parametrize("contract", [GRAY, COLOR], ids=["gray", "color"])
def test_attacks_that_know_the_defense_stay_on_the_images_device(contract: ImageContract) -> None:
    x, y = images(contract)
    model, (vae, prior) = there(classifier("A", contract, CLASSES)), puvae(contract)
    pipeline = PuvaePipeline(vae, model, SCORE, sigma_eps=0.1, prior=prior, shortlist=3)
    objectives = through_classification(pipeline), through_identity(pipeline.purify, model), through_choice(pipeline)
    for objective in objectives:
        assert pgd(objective, pipeline.judge, x, y, 0.1, Pgd(steps=2, restarts=1, samples=2)).is_meta
