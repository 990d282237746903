"""A step of every training happens on the device of its module and mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from puvae_rt.contract import ImageContract
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.magnet import reformer
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import PRIORS, Ranks
from puvae_rt.training.baselines import AdversarialTask, Gan, GanTask, PgdTask, ReformerTask
from puvae_rt.training.loop import Task
from puvae_rt.training.prior_task import PriorTask
from puvae_rt.training.recipes import OURS, PRIOR_RECIPES
from puvae_rt.training.tasks import ClassifierTask, PuvaeTask
from tests.other_device import META, OtherDevice

CLASSES, BATCH = 10, 4
COLOR = ImageContract(3, 32, 32)
STEPS = 2  # of each training: the networks of a GAN take turns
AUGMENTED = replace(OURS, augmented=True, augmented_source=True)


def there(module: nn.Module) -> nn.Module:
    return module.to(META)


def any_classifier() -> nn.Module:
    return there(classifier("A", COLOR, CLASSES))


def any_puvae(normalized: bool) -> PuVAE:
    vae = PuVAE(COLOR, CLASSES, Ranks(4, 4, 4), normalized)
    there(vae)
    return vae


def prior_task(done: int) -> PriorTask:
    prior = Prior(COLOR, CLASSES, PRIORS[3], batch_norm=True)
    there(prior)
    task = PriorTask(prior, [any_classifier()], PRIOR_RECIPES["cifar10"], steps=10)
    task.state["step"] = torch.tensor(done)
    return task


def gan_task() -> GanTask:
    gan = Gan(COLOR)
    there(gan)
    return GanTask(gan)


TASKS: dict[str, Callable[[], Task]] = {
    "classifier": lambda: ClassifierTask(any_classifier(), augmented=True),
    "puvae": lambda: PuvaeTask(any_puvae(False), any_classifier(), OURS),
    "puvae, augmented": lambda: PuvaeTask(any_puvae(True), any_classifier(), AUGMENTED),
    "adversarial": lambda: AdversarialTask(any_classifier(), any_classifier().eval(), 0.06),
    "pgd": lambda: PgdTask(any_classifier(), 0.06, total=10),
    "reformer": lambda: ReformerTask(there(reformer(COLOR)), COLOR),
    "gan": gan_task,
    "prior, one step": lambda: prior_task(0),
    "prior, several steps": lambda: prior_task(8),
}


@pytest.fixture(autouse=True)
def watched() -> Iterator[None]:
    with OtherDevice():
        yield


@pytest.mark.parametrize("name", TASKS)
def test_a_step_stays_on_the_modules_device(name: str) -> None:
    task = TASKS[name]()
    x, y = torch.rand(BATCH, *COLOR.shape, device=META), torch.zeros(BATCH, dtype=torch.long, device=META)
    optimizer = torch.optim.AdamW(task.module.parameters())
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss, _ = task.loss(x, y, fresh=step == 0)
        loss.backward()  # type: ignore[no-untyped-call]
        task.after_backward()
        optimizer.step()
    assert loss.is_meta and all(p.is_meta for p in task.module.parameters())
    kept = {name: value.device.type for name, value in task.state.items() if value.dim()}
    assert all(place == "meta" for name, place in kept.items() if name != "last"), kept
