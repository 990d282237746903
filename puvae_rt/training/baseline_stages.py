"""The trainings of the defenses that PuVAE is compared with; each resumes, and is skipped once done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

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
from puvae_rt.training.baselines import CRITIC_PACE, AdversarialTask, Gan, GanTask, PgdTask, ReformerTask
from puvae_rt.training.device import resolve
from puvae_rt.training.loop import AdamSettings
from puvae_rt.training.plan import Plan, Stage, images_of, limited, make_folder, require_made_for
from puvae_rt.training.precision import in_precision
from puvae_rt.training.recipes import BASELINE_SCHEDULES, PGD_STEPS, Schedule
from puvae_rt.training.selection import accuracy
from puvae_rt.training.settings import BaselineSettings as Settings
from puvae_rt.training.stages import any_light, seeded, train_stage

GAN_ADAM = AdamSettings(betas=(0.5, 0.9), decay=False, factors={"critic": CRITIC_PACE})
Report = dict[str, Any]


def plan_magnet(stage: Stage, dataset: Dataset, schedule: Schedule) -> Plan:
    """MagNet's reformer."""
    return Plan(stage, schedule, identity(dataset), _history(dataset, schedule), load_reformer)


def train_magnet(stage: Stage, dataset: Dataset, schedule: Schedule) -> Report:
    """MagNet's reformer."""
    plan, history = plan_magnet(stage, dataset, schedule), {"schedule": schedule.record()}
    if not stage.weights.exists():
        model = seeded(schedule.seed, lambda: reformer(dataset.contract)).to(stage.device)
        train_stage(stage, ReformerTask(model, dataset.contract), dataset.train, schedule, plan.identity)
        save_network(stage.weights, model, REFORMER, dataset, history)
    plan.finished()
    return history


def plan_defense_gan(stage: Stage, dataset: Dataset, schedule: Schedule) -> Plan:
    """Defense-GAN's generator and critic."""
    return Plan(stage, schedule, identity(dataset), _history(dataset, schedule), load_generator)


def train_defense_gan(stage: Stage, dataset: Dataset, schedule: Schedule) -> Report:
    """The generator with its averaged weights; its critic stays in the checkpoint."""
    plan, history = plan_defense_gan(stage, dataset, schedule), {"schedule": schedule.record()}
    if not stage.weights.exists():
        task = GanTask(seeded(schedule.seed, lambda: Gan(dataset.contract)).to(stage.device))
        train_stage(stage, task, dataset.train, schedule, plan.identity, GAN_ADAM)
        save_network(stage.weights, task.averaged(), GENERATOR, dataset, history)
    plan.finished()
    return history


def plan_adversarial(
    stage: Stage, dataset: Dataset, schedule: Schedule, architecture: str, epsilon: float
) -> tuple[Plan, nn.Module, Report]:
    """The plan, the attacked classifier and what the weights say of their training.

    Raises:
        CheckpointError: the undefended classifier beside it is missing or damaged.
        ContractError: that classifier is for other images or classes.
    """
    file = stage.folder / f"classifier_{architecture.lower()}.safetensors"
    attacked, meta = load_classifier(file)
    require_made_for(file, meta, dataset, "train it on these images first, with `puvae train`")
    history = {"schedule": schedule.record(), "epsilon": epsilon}
    history |= {"normalized": True} if meta.get("normalized") else {}  # as in front of the attacked one
    named = identity(dataset) | {"architecture": architecture, "epsilon": epsilon}
    wanted = history | {"architecture": architecture} | images_of(dataset)
    return Plan(stage, schedule, named, wanted, load_classifier), attacked, history


def train_adversarially(
    stage: Stage, dataset: Dataset, schedule: Schedule, architecture: str, epsilon: float
) -> Report:
    """A classifier trained on FGSM examples of the undefended one beside it."""
    plan, attacked, history = plan_adversarial(stage, dataset, schedule, architecture, epsilon)
    if not stage.weights.exists():
        model = _new_classifier(dataset, schedule, architecture, "normalized" in history).to(stage.device)
        task = AdversarialTask(model, attacked.to(stage.device), epsilon)
        train_stage(stage, task, dataset.train, schedule, plan.identity)
        save_classifier(stage.weights, model, architecture, dataset, history)
    model = plan.finished()[0]
    return history | {"accuracy": accuracy(model, dataset.validation)}


def plan_pgd(
    stage: Stage, dataset: Dataset, schedule: Schedule, architecture: str, epsilon: float
) -> tuple[Plan, Report]:
    """The plan of a classifier's PGD training, and what the weights say of it."""
    history: Report = {"schedule": schedule.record(), "epsilon": epsilon, "pgd_steps": PGD_STEPS}
    history |= {"normalized": True} if any_light(dataset) else {}
    named = identity(dataset) | {"architecture": architecture, "epsilon": epsilon, "pgd_steps": PGD_STEPS}
    wanted = history | {"architecture": architecture} | images_of(dataset)
    return Plan(stage, schedule, named, wanted, load_classifier), history


def train_pgd(stage: Stage, dataset: Dataset, schedule: Schedule, architecture: str, epsilon: float) -> Report:
    """A classifier trained on PGD examples of its own."""
    plan, history = plan_pgd(stage, dataset, schedule, architecture, epsilon)
    if not stage.weights.exists():
        model = _new_classifier(dataset, schedule, architecture, any_light(dataset)).to(stage.device)
        total = schedule.epochs * (len(dataset.train) // schedule.batch)
        train_stage(stage, PgdTask(model, epsilon, total), dataset.train, schedule, plan.identity)
        save_classifier(stage.weights, model, architecture, dataset, history)
    return history | {"accuracy": accuracy(plan.finished()[0], dataset.validation)}


def _new_classifier(dataset: Dataset, schedule: Schedule, architecture: str, normalized: bool) -> nn.Module:
    classes = len(dataset.classes)
    model: nn.Module = seeded(
        schedule.seed, lambda: classifier(architecture, dataset.contract, classes, normalized=normalized)
    )
    return model


def _history(dataset: Dataset, schedule: Schedule) -> dict[str, Any]:
    return {"schedule": schedule.record()} | images_of(dataset)


def identity(dataset: Dataset) -> dict[str, Any]:
    """What tells a checkpoint's data set from another."""
    return {"dataset": dataset.name, "images": len(dataset.train)}


def train_baseline(settings: Settings) -> Report:
    """Trains one baseline (adv_training, pgd_training: one for each target) and reports on the validation split.

    Raises:
        DataError, CheckpointError, ContractError: before anything is trained.
    """
    if settings.epsilon is not None:
        check_epsilon(settings.epsilon)
    dataset = limited(load_dataset(settings.dataset, settings.data), settings.limit)
    folder, device = settings.out / dataset.name, resolve(settings.device)
    given = {k: v for k in ("epochs", "batch") if (v := getattr(settings, k)) is not None}
    schedule = replace(BASELINE_SCHEDULES[settings.baseline], **given).fit_to(len(dataset.train))
    if settings.baseline in ("magnet", "defense_gan"):
        stage = Stage(folder, settings.baseline, device)
        plan, train = {
            "magnet": (plan_magnet, train_magnet),
            "defense_gan": (plan_defense_gan, train_defense_gan),
        }[settings.baseline]
        schedule = in_precision(schedule, stage, settings.precision)
        plan(stage, dataset, schedule).check()
        make_folder(folder)
        return {settings.baseline: train(stage, dataset, schedule)}
    epsilon = settings.epsilon if settings.epsilon is not None else radii_of(dataset.contract).epsilon
    stages = {a: Stage(folder, f"{settings.baseline}_{a.lower()}", device) for a in settings.targets}
    schedules = {a: in_precision(schedule, stage, settings.precision) for a, stage in stages.items()}
    if settings.baseline == "pgd_training":
        for architecture, stage in stages.items():  # all of them, before the first takes hours
            plan_pgd(stage, dataset, schedules[architecture], architecture, epsilon)[0].check()
        make_folder(folder)
        return {s.name: train_pgd(s, dataset, schedules[a], a, epsilon) for a, s in stages.items()}
    for architecture, stage in stages.items():
        plan_adversarial(stage, dataset, schedules[architecture], architecture, epsilon)[0].check()
    return {s.name: train_adversarially(s, dataset, schedules[a], a, epsilon) for a, s in stages.items()}
