"""What a step of training sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from puvae_rt.contract import ImageContract
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks
from puvae_rt.training import tasks
from puvae_rt.training.recipes import Recipe
from puvae_rt.training.tasks import PuvaeTask
from tests.tolerances import LIGHT

COLOR = ImageContract(3, 32, 32)
CONTRAST = 100.0  # by which an untrained decoder's pictures are grayer than trained ones


def test_dark_images_weigh_as_much_as_light_ones_where_contrast_is_normalised() -> None:
    torch.manual_seed(0)
    recipe = Recipe("test", reconstruction=1.0, kl=1.0, source=10.0, ranking=20.0, negatives=2)
    source = classifier("A", COLOR, 3, normalized=True)
    x = 0.3 + 0.4 * torch.rand(4, *COLOR.shape)  # nothing near black or white, where candidates are clipped
    y = torch.tensor([0, 1, 2, 0])

    def terms(images: torch.Tensor, normalized: bool) -> dict[str, float]:
        torch.manual_seed(1)
        vae = PuVAE(COLOR, 3, Ranks(4, 4), normalized)
        with torch.no_grad():
            vae.deconvs[-1].weight.mul_(CONTRAST)
        return PuvaeTask(vae, source, recipe).loss(images, y, fresh=True)[1]

    light, dark = terms(x, True), terms(0.2 * x + 0.05, True)
    for name in ("reconstruction", "kl", "source", "ranking"):
        assert abs(dark[name] - light[name]) <= LIGHT * abs(light[name]), name
    assert abs(terms(0.2 * x + 0.05, False)["ranking"] / terms(x, False)["ranking"] - 1) > LIGHT


def test_augmentation_is_of_every_image_and_stays_for_its_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "augment", lambda images: 1 - images)
    plain = Recipe("test", reconstruction=1.0, kl=1.0, source=10.0, ranking=20.0)
    x, y, source = torch.rand(4, *COLOR.shape), torch.tensor([0, 1, 2, 0]), classifier("A", COLOR, 3)

    def terms(recipe: Recipe, *batches: torch.Tensor) -> list[dict[str, float]]:
        torch.manual_seed(1)
        task = PuvaeTask(PuVAE(COLOR, 3, Ranks(4, 4)), source, recipe)
        return [task.loss(images, y, fresh=number == 0)[1] for number, images in enumerate(batches)]

    assert terms(replace(plain, augmented=True), x, torch.zeros_like(x)) == terms(plain, 1 - x, 1 - x)


def test_the_source_judges_augmented_reconstructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "augment", torch.zeros_like)
    recipe = Recipe("test", reconstruction=1.0, kl=1.0, source=10.0, augmented_source=True)
    x, y, source = torch.rand(4, *COLOR.shape), torch.tensor([0, 1, 2, 0]), classifier("A", COLOR, 3)
    got = PuvaeTask(PuVAE(COLOR, 3, Ranks(4, 4)), source, recipe).loss(x, y, fresh=True)[1]["source"]
    assert got == F.cross_entropy(source(torch.zeros_like(x)), y).item()
