"""The stages of a prior's training: source models to attack, the prior itself, and the choice that it enters."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from puvae_rt.data import Dataset, load_dataset
from puvae_rt.errors import CheckpointError
from puvae_rt.files import write_json
from puvae_rt.models.prior import Prior
from puvae_rt.models.spec import PRIORS, SOURCE_ARCHITECTURES
from puvae_rt.training.artefacts import (
    LOW_RANK,
    WITH_PRIOR,
    load_prior,
    load_selector,
    save_prior,
    save_selector,
)
from puvae_rt.training.choice import Choice, choice_history, tune_choice
from puvae_rt.training.device import resolve
from puvae_rt.training.initialisation import start_from_thresholds
from puvae_rt.training.loop import AdamSettings
from puvae_rt.training.plan import Plan, Stage, images_of, limited, make_folder, require_made_for
from puvae_rt.training.precision import in_precision
from puvae_rt.training.prior_task import PriorTask
from puvae_rt.training.recipes import (
    CLASSIFIER_SCHEDULE,
    HISTORY,
    OURS,
    PRIOR_EPOCHS,
    PRIOR_SCHEDULE,
    WEIGHT_DECAY,
    PriorRecipe,
    Schedule,
    prior_recipe_for,
)
from puvae_rt.training.selection import accuracy, validation_inputs
from puvae_rt.training.settings import PriorSettings
from puvae_rt.training.stages import any_light, given, plan_classifier, seeded, train_classifier, train_stage

ATTACKED = ("S1", "S2")  # source models whose attacks the prior is shown
UNSEEN = "V1"  # the source model of the images on which its weight in the score is chosen
SOURCE_SEED = 200  # apart from every classifier's
SUMMARY_FILE = "prior.json"
CHOICE_IMAGES, CHOICE_SEED = 2000, 11  # of the validation images on which the choice is tuned


def source_stage(folder: Path, architecture: str, device: torch.device) -> Stage:
    """The files of a source model."""
    return Stage(folder, f"source_{architecture.lower()}", device)


def plan_prior(stage: Stage, dataset: Dataset, recipe: PriorRecipe, schedule: Schedule) -> Plan:
    """The plan of training a prior of this data set."""
    layers = PRIORS[dataset.contract.channels]
    history = {"recipe": recipe.record(), "schedule": schedule.record()}
    identity = {"dataset": dataset.name, "images": len(dataset.train), "layers": asdict(layers)} | history
    wanted = history | images_of(dataset) | {"layers": asdict(layers)}
    return Plan(stage, schedule, identity, wanted, load_prior)


def train_prior(settings: PriorSettings) -> dict[str, Any]:
    """Source models, prior and choice of one data set; returns validation accuracies, and leaves them in the folder.

    Raises:
        DataError, ContractError, CheckpointError: before anything is trained.
    """
    dataset = limited(load_dataset(settings.dataset, settings.data), settings.limit)
    folder, device = settings.out / dataset.name, resolve(settings.device)
    recipe = prior_recipe_for(dataset)
    epochs = given(settings.epochs, PRIOR_EPOCHS.get(dataset.name, PRIOR_SCHEDULE.epochs))
    schedule = replace(PRIOR_SCHEDULE, epochs=epochs, batch=settings.batch)
    stage, puvae = Stage(folder, "prior", device), puvae_weights(folder, settings.puvae)
    schedule = in_precision(schedule.fit_to(len(dataset.train)), stage, settings.precision)
    chooser, distance, meta = load_selector(puvae)
    require_made_for(puvae, meta, dataset, "give --runs another folder")
    plan = plan_prior(stage, dataset, recipe, schedule)
    sources = {name: source_stage(folder, name, device) for name in SOURCE_ARCHITECTURES}
    classifier_schedule = CLASSIFIER_SCHEDULE.fit_to(len(dataset.train))
    schedules = {
        name: in_precision(replace(classifier_schedule, seed=SOURCE_SEED + i), each, settings.precision)
        for i, (name, each) in enumerate(sources.items())
    }
    for name, each in sources.items():
        plan_classifier(each, name, dataset, schedules[name]).check()
    plan.check()
    make_folder(folder)
    models = {n: train_classifier(each, n, dataset, schedules[n]) for n, each in sources.items()}
    results: dict[str, Any] = {
        name: {"accuracy": accuracy(model, dataset.validation)} for name, model in models.items()
    }
    if not stage.weights.exists():
        _train(plan, dataset, recipe, [models[name] for name in ATTACKED])
    prior = plan.finished()[0]
    results["prior"] = {"accuracy": accuracy(prior, dataset.validation)}
    joined = Stage(folder, f"puvae_{OURS.name}{WITH_PRIOR}", device)
    inputs = validation_inputs(dataset, models[UNSEEN], CHOICE_IMAGES, CHOICE_SEED)
    choice = tune_choice(chooser.vae.to(device), prior, distance, *inputs)
    history = {key: meta[key] for key in HISTORY if key in meta} | choice_history(choice)
    save_selector(joined.weights, choice.selector, distance, dataset, history)
    results["choice"] = _told(choice)
    summary = {"dataset": dataset.name, "split": "validation", "results": results}
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def puvae_weights(folder: Path, given: Path | None) -> Path:
    """The PuVAE that a prior is for: the given file, else the data set's own, at low rank where there is one.

    Raises:
        CheckpointError: there is none.
    """
    names = (f"puvae_{OURS.name}{LOW_RANK}", f"puvae_{OURS.name}")
    files = [given] if given else [Stage(folder, name).weights for name in names]
    if found := next((path for path in files if path.is_file()), None):
        return found
    raise CheckpointError(
        f"{files[0]}: no such file; train PuVAE with `puvae train` first, or give --weights or --runs"
    )


def _told(choice: Choice) -> dict[str, Any]:
    """The numbers of a choice, and its accuracies on validation images."""
    decoded = choice.selector.shortlist or choice.selector.vae.classes
    return asdict(choice.selector.score) | {"shortlist": decoded, "accuracy": choice.recall[str(decoded)]}


def _train(plan: Plan, dataset: Dataset, recipe: PriorRecipe, sources: list[Any]) -> None:
    schedule, layers = plan.schedule, PRIORS[dataset.contract.channels]
    varied, starts = any_light(dataset), 1 if recipe.threshold_start else 0
    prior = seeded(
        schedule.seed,
        lambda: Prior(dataset.contract, len(dataset.classes), layers, varied, batch_norm=True, linear_start=starts),
    )
    if recipe.threshold_start:
        start_from_thresholds(prior)
    prior.to(plan.stage.device)
    steps = schedule.epochs * (len(dataset.train) // schedule.batch)
    task = PriorTask(prior, sources, recipe, steps)
    train_stage(plan.stage, task, dataset.train, schedule, plan.identity, AdamSettings(weight_decay=WEIGHT_DECAY))
    history = {key: plan.identity[key] for key in ("recipe", "schedule")}
    save_prior(plan.stage.weights, task.averaged(), dataset, history)
