"""The trainings of the defenses that PuVAE is compared with; each resumes, and is skipped once done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from puvae_rt.attacks.radii import check_epsilon, radii_of
from puvae_rt.data import Dataset, load_dataset
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.magnet import reformer
from puvae_rt.training.artefacts import (
    GENERATOR,
    REFORMER,
    load_classifier,
    load_generator,
    load_reformer,
    save_classifier,
    save_network,
)
from puvae_rt.training.baselines import CRITIC_PACE, AdversarialTask, Gan, GanTask, ReformerTask
from puvae_rt.training.loop import AdamSettings
from puvae_rt.training.recipes import BASELINE_SCHEDULES, Schedule
from puvae_rt.training.selection import accuracy
from puvae_rt.training.stages import Stage, require_same, seeded, train_stage

GAN_ADAM = AdamSettings(betas=(0.5, 0.9), decay=False, factors={"critic": CRITIC_PACE})
Report = dict[str, Any]


class Settings(NamedTuple):
    """What `puvae_rt.train_baselines` is asked for; None is the default of the schedule or the dataset."""

    dataset: str
    baseline: str
    data: Path | None = None
    out: Path = Path("runs")
    targets: tuple[str, ...] | list[str] = ("A",)
    epsilon: float | None = None
    epochs: int | None = None
    batch: int | None = None
    limit: int | None = None
    bf16: bool = False


def train_magnet(stage: Stage, dataset: Dataset, schedule: Schedule) -> Report:
    """MagNet's reformer."""
    history = {"schedule": schedule.record()}
    if not stage.weights.exists():
        model = seeded(schedule.seed, lambda: reformer(dataset.contract))
        train_stage(stage, ReformerTask(model, dataset.contract), dataset.train, schedule, identity(dataset))
        save_network(stage.weights, model, REFORMER, dataset, history)
    require_same(stage, load_reformer(stage.weights)[1], history)
    return history


def train_defense_gan(stage: Stage, dataset: Dataset, schedule: Schedule) -> Report:
    """The generator with its averaged weights; its critic stays in the checkpoint."""
    history = {"schedule": schedule.record()}
    if not stage.weights.exists():
        task = GanTask(seeded(schedule.seed, lambda: Gan(dataset.contract)))
        train_stage(stage, task, dataset.train, schedule, identity(dataset), GAN_ADAM)
        save_network(stage.weights, task.averaged(), GENERATOR, dataset, history)
    require_same(stage, load_generator(stage.weights)[1], history)
    return history


def train_adversarially(
    stage: Stage, dataset: Dataset, schedule: Schedule, architecture: str, epsilon: float
) -> Report:
    """A classifier trained on FGSM examples of the undefended one beside it."""
    history = {"schedule": schedule.record(), "epsilon": epsilon}
    if not stage.weights.exists():
        attacked, meta = load_classifier(stage.folder / f"classifier_{architecture.lower()}.safetensors")
        front = {"normalized": True} if meta.get("normalized") else {}  # as in front of the attacked one
        history |= front
        classes = len(dataset.classes)
        model = seeded(schedule.seed, lambda: classifier(architecture, dataset.contract, classes, **front))
        task = AdversarialTask(model, attacked, epsilon)
        named = identity(dataset) | {"architecture": architecture, "epsilon": epsilon}
        train_stage(stage, task, dataset.train, schedule, named)
        save_classifier(stage.weights, model, architecture, dataset, history)
    model, meta = load_classifier(stage.weights)
    require_same(stage, meta, history | {"architecture": architecture})
    return history | {"accuracy": accuracy(model, dataset.validation)}


def identity(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "images": len(dataset.train)}


def train_baseline(settings: Settings) -> Report:
    """Trains one baseline (adv_training: one for each target) and reports on the validation split.

    Raises:
        DataError, CheckpointError, ContractError
    """
    if settings.epsilon is not None:
        check_epsilon(settings.epsilon)
    dataset = load_dataset(settings.dataset, settings.data)
    if settings.limit:
        dataset = replace(dataset, train=dataset.train.head(settings.limit))
    folder = settings.out / dataset.name
    folder.mkdir(parents=True, exist_ok=True)
    given = {k: v for k in ("epochs", "batch") if (v := getattr(settings, k)) is not None}
    schedule = replace(BASELINE_SCHEDULES[settings.baseline], bf16=settings.bf16, **given)
    if settings.baseline == "magnet":
        return {"magnet": train_magnet(Stage(folder, "magnet"), dataset, schedule)}
    if settings.baseline == "defense_gan":
        return {"defense_gan": train_defense_gan(Stage(folder, "defense_gan"), dataset, schedule)}
    epsilon = settings.epsilon if settings.epsilon is not None else radii_of(dataset.contract).epsilon
    names = {a: f"adv_training_{a.lower()}" for a in settings.targets}
    return {n: train_adversarially(Stage(folder, n), dataset, schedule, a, epsilon) for a, n in names.items()}
