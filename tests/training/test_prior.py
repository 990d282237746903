"""The training of a prior, the tuning of the choice, and the command that does both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from puvae_rt.cli.main import main
from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import CheckpointError
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import PRIORS, PriorLayers, Ranks
from puvae_rt.training.artefacts import load_prior, load_selector
from puvae_rt.training.choice import tune_choice
from puvae_rt.training.prior import train_prior
from puvae_rt.training.prior_task import PriorTask
from puvae_rt.training.recipes import PriorRecipe
from puvae_rt.training.settings import PriorSettings
from tests.evaluation import study

GRAY, CLASSES = ImageContract(1, 28, 28), 4
LAYERS = PriorLayers(((4, 2), (8, 2)), 16)


def bars(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of a bright bar whose place is the class, under noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % CLASSES
    x = 0.3 * torch.rand(count, *GRAY.shape, generator=generator)
    for image, label in zip(x, y.tolist(), strict=True):
        image[:, 6 * label + 2 : 6 * label + 6] += 0.6
    return x, y


def task(steps: int = 40, **recipe: float) -> PriorTask:
    torch.manual_seed(0)
    source = classifier("S2", GRAY, CLASSES)
    settings = {"radius": 0.1, "source_radius": 0.1, "steps": 2} | recipe
    return PriorTask(Prior(GRAY, CLASSES, LAYERS, batch_norm=True), [source], PriorRecipe(**settings), steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("least", [0.0, 1.0])
@pytest.mark.parametrize("steep", [0.0, 1.0])
def test_attacks_stay_inside_the_radius(monkeypatch: pytest.MonkeyPatch, steep: float, least: float) -> None:
    trained = task(steep=steep, least=least, noise=0.5, shift=0.0)
    trained.state["step"] += trained.steps // 2  # past the ramp
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(trained, "_augmented", lambda x: x)
    forward = Prior.forward
    monkeypatch.setattr(Prior, "forward", lambda self, x: seen.append(x.detach()) or forward(self, x))
    x, y = bars(8)
    trained.loss(x, y, fresh=True)
    attacked = seen[-2]  # before the source's
    reach = 1.5 if steep == 0 else 1.0  # the noisy start lies half a radius away
    assert 0 < (attacked - x).abs().max() <= reach * 0.1 + 1e-6 and attacked.min() >= 0 and attacked.max() <= 1
    assert (seen[-1] - x[:4]).abs().max() <= 1.5 * 0.1 + 1e-6


def test_a_prior_learns_and_its_average_follows(tmp_path: Path) -> None:
    trained = task(steps=60)
    optimizer = torch.optim.AdamW(trained.module.parameters(), 1e-2)
    x, y = bars(32)
    for _ in range(60):
        optimizer.zero_grad()
        trained.loss(x, y, fresh=True)[0].backward()
        optimizer.step()
    averaged = trained.averaged()
    fresh_x, fresh_y = bars(64, 5)
    assert (averaged(fresh_x).argmax(1) == fresh_y).float().mean() > 0.9


class Templates(PuVAE):
    """Projects every image on the mean image of each class."""

    def project(
        self,
        x: torch.Tensor,
        noise: torch.Tensor | None = None,
        sigma_eps: float = 0.0,
        classes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = bars(40, 3)
        means = torch.stack([images[labels == k].mean(0) for k in range(CLASSES)])
        return means.expand(len(x), -1, -1, -1, -1), torch.zeros(len(x), CLASSES)


class Biased(Prior):
    """Gives class 0 nine tenths, and the others the rest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.9, *(CLASSES - 1) * [0.1 / (CLASSES - 1)]]).log().expand(len(x), -1)


def test_the_choice_leans_little_on_a_prior_that_is_wrong_and_decodes_every_class_then() -> None:
    x, y = bars(40)
    wrong = tune_choice(Templates(GRAY, CLASSES, Ranks(4, 4)), Biased(GRAY, CLASSES, LAYERS), Score(), {"clean": x}, y)
    assert wrong.selector.score.prior_weight < 5 and wrong.selector.shortlist is None
    assert wrong.recall["4"]["clean"] == max(row["clean"] for row in wrong.table) == 1
    heaviest = max(wrong.table, key=lambda row: row["prior_weight"])
    assert heaviest["clean"] < 0.5


def test_the_choice_leans_on_a_prior_where_the_distance_says_nothing() -> None:
    torch.manual_seed(0)
    x, y = bars(40)
    prior = Biased(GRAY, CLASSES, LAYERS)
    chosen = tune_choice(PuVAE(GRAY, CLASSES, Ranks(4, 4)), prior, Score(), {"clean": x[y == 0]}, y[y == 0])
    assert chosen.recall["2"]["clean"] == 1 and chosen.selector.shortlist == 2
    assert chosen.selector.score.prior_weight > 1


def test_the_command_trains_resumes_and_writes_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = study.make(tmp_path)
    command = ["train-prior", "--dataset", study.NAME, "--data", str(tmp_path / "bars.npz"), "--runs"]
    command += [str(tmp_path / "runs"), "--epochs", "1", "--mini-batch", "16", "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    folder = tmp_path / "runs" / study.NAME
    prior, meta = load_prior(folder / "prior.safetensors")
    assert prior.layers == PRIORS[1] and meta["schedule"]["epochs"] == 1
    selector, _, meta = load_selector(folder / "puvae_ours_prior.safetensors")
    choice = report["results"]["choice"]
    assert selector.score.prior_weight == choice["prior_weight"] > 0
    assert (selector.shortlist or len(dataset.classes)) == choice["shortlist"]
    assert meta["schedule"] == {"epochs": 0} and len(meta["choice_search"]) > 10
    before = (folder / "prior.safetensors").stat().st_mtime_ns
    assert main(command) == 0 and (folder / "prior.safetensors").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match="other schedule"):
        train_prior(
            PriorSettings(study.NAME, tmp_path / "bars.npz", tmp_path / "runs", epochs=2, batch=16),
        )


def test_a_prior_without_its_puvae_is_refused_before_the_training(tmp_path: Path) -> None:
    data = study.save_images(tmp_path / "bars.npz")
    with pytest.raises(CheckpointError, match="puvae train"):
        train_prior(PriorSettings(study.NAME, data, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
