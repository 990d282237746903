"""The stages of a training: source classifier, target classifiers, PuVAE; each resumes, and is skipped once done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from tqdm import tqdm

from puvae_rt._moved import renamed
from puvae_rt.contract import Score
from puvae_rt.data import KNOWN, Dataset, Split, load_dataset
from puvae_rt.errors import ContractError
from puvae_rt.files import sha256_of, write_json
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import Ranks, check_ranks
from puvae_rt.training.artefacts import LOW_RANK, load_classifier, load_puvae, save_classifier, save_puvae
from puvae_rt.training.curves import draw_curves
from puvae_rt.training.device import resolve
from puvae_rt.training.initialisation import start_from_thresholds
from puvae_rt.training.loop import AdamSettings, Metrics, Task, fit
from puvae_rt.training.plan import Plan, Stage, images_of, limited, make_folder, require_made_for, require_positive
from puvae_rt.training.precision import in_precision
from puvae_rt.training.recipes import CLASSIFIER_SCHEDULE, PUVAE_SCHEDULE, REPLAYS, SOURCE, Recipe, Schedule, recipe_for
from puvae_rt.training.selection import accuracy, projection_accuracy, tune_score
from puvae_rt.training.settings import TrainSettings as Settings
from puvae_rt.training.tasks import ClassifierTask, PuvaeTask

SUMMARY_FILE = "training.json"
_CLASSIFIER_HISTORY = ("schedule", "augmented", "normalized")
T = TypeVar("T")


def train_stage(
    stage: Stage,
    task: Task,
    split: Split,
    schedule: Schedule,
    identity: dict[str, Any],
    adam: AdamSettings = AdamSettings(),
) -> None:
    """Train with a progress bar and checkpoints, and draw the curve."""
    with tqdm(desc=stage.name, unit="step", mininterval=1.0) as bar:

        def progress(step: int, total: int, metrics: Metrics) -> None:
            bar.total = total
            bar.set_postfix({k: f"{v:.3g}" for k, v in metrics.items()}, refresh=False)
            bar.update(step - bar.n)

        curve = fit(task, split, schedule, identity, stage.checkpoint, progress, adam=adam)
    draw_curves(curve, stage.name, stage.curve)


def plan_classifier(stage: Stage, architecture: str, dataset: Dataset, schedule: Schedule) -> Plan:
    """The plan of training a classifier of this data set."""
    history: dict[str, Any] = {"schedule": schedule.record()}
    history |= {"augmented": True, "normalized": True} if any_light(dataset) else {}
    identity = {"dataset": dataset.name, "images": len(dataset.train), "architecture": architecture}
    wanted = history | {"architecture": architecture} | images_of(dataset)
    return Plan(stage, schedule, identity, wanted, load_classifier)


def train_classifier(stage: Stage, architecture: str, dataset: Dataset, schedule: Schedule) -> nn.Module:
    """The classifier of this stage, trained now or read back."""
    plan = plan_classifier(stage, architecture, dataset, schedule)
    if not stage.weights.exists():
        varied, classes = any_light(dataset), len(dataset.classes)
        model = seeded(schedule.seed, lambda: classifier(architecture, dataset.contract, classes, normalized=varied))
        model.to(stage.device)
        train_stage(stage, ClassifierTask(model, augmented=varied), dataset.train, schedule, plan.identity)
        history = {key: value for key, value in plan.wanted.items() if key in _CLASSIFIER_HISTORY}
        save_classifier(stage.weights, model, architecture, dataset, history)
    trained: nn.Module = plan.finished()[0]
    return trained


def any_light(dataset: Dataset) -> bool:
    """Whether its pictures were taken in any light, so that models normalise contrast."""
    return dataset.name in KNOWN and KNOWN[dataset.name].any_light


class Start(NamedTuple):
    """Where PuVAE's training begins: at random weights, or at those of `file`, whose form the other fields repeat."""

    ranks: Ranks = Ranks()
    normalized: bool = False
    file: Path | None = None

    def model(self, dataset: Dataset) -> PuVAE:
        """The PuVAE that the training starts from."""
        if self.file is None:
            return PuVAE(dataset.contract, len(dataset.classes), self.ranks, self.normalized)
        return load_puvae(self.file)[0].requires_grad_()


def plan_puvae(stage: Stage, dataset: Dataset, recipe: Recipe, schedule: Schedule, start: Start = Start()) -> Plan:
    """The plan of training a PuVAE of this data set."""
    history = puvae_history(recipe, schedule, start)
    identity = {"dataset": dataset.name, "images": len(dataset.train)} | history
    identity |= {"ranks": [*start.ranks]} if start.ranks != Ranks() else {}
    identity |= {"normalized": True} if start.normalized else {}
    wanted = {"init": None} | history | images_of(dataset)
    wanted |= {"ranks": start.ranks._asdict(), "normalized": start.normalized}
    return Plan(stage, schedule, identity, wanted, _read_puvae)


def puvae_history(recipe: Recipe, schedule: Schedule, start: Start) -> dict[str, Any]:
    """What the metadata of a PuVAE say about its training."""
    history: dict[str, Any] = {"recipe": recipe.record(), "schedule": schedule.record()}
    return history | ({"init": sha256_of(start.file)} if start.file else {})


def _read_puvae(path: Path) -> tuple[PuVAE, dict[str, Any]]:
    model, meta = load_puvae(path)
    return model, meta | {"normalized": model.normalized}


def train_puvae(
    stage: Stage,
    source: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    schedule: Schedule,
    start: Start = Start(),
) -> tuple[PuVAE, Score]:
    """PuVAE and its selection score, trained and tuned now or read back."""
    plan = plan_puvae(stage, dataset, recipe, schedule, start)
    if not stage.weights.exists():
        model = seeded(schedule.seed, lambda: start.model(dataset))
        if recipe.threshold_start and not start.file:
            start_from_thresholds(model.trunk)
        model.to(stage.device)
        train_stage(stage, PuvaeTask(model, source, recipe), dataset.train, schedule, plan.identity)
        score, table = tune_score(model, dataset.validation) if recipe.tuned_score else (Score(), [])
        history = puvae_history(recipe, schedule, start) | {"score_search": table}
        save_puvae(stage.weights, model, dataset, score, history)
    trained, meta = plan.finished()
    return trained, Score(**meta["score"])


def seeded(seed: int, make: Callable[[], Any]) -> Any:
    """What `make()` makes with PyTorch's generator seeded, which is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def given(value: T | None, default: T) -> T:
    """The value, or the default where it is None."""
    return default if value is None else value


def train_dataset(settings: Settings) -> dict[str, Any]:
    """Every stage of one dataset; returns validation accuracies and leaves them in OUT/DATASET/training.json.

    Raises:
        DataError, ContractError, CheckpointError: before anything is trained.
    """
    s = settings
    dataset = limited(load_dataset(s.dataset, s.data), s.limit)
    recipe, puvae_schedule, start = _puvae_plan(s, dataset)
    epochs = given(s.classifier_epochs, CLASSIFIER_SCHEDULE.epochs)
    require_positive("classifier-epochs", epochs)
    schedule = replace(CLASSIFIER_SCHEDULE, epochs=epochs).fit_to(len(dataset.train))
    folder = s.out / dataset.name
    device = resolve(s.device)
    source_stage = Stage(folder, "source", device)
    targets = {architecture: Stage(folder, f"classifier_{architecture.lower()}", device) for architecture in s.targets}
    puvae_stage = Stage(folder, f"puvae_{recipe.name}{LOW_RANK if start.ranks != Ranks() else ''}", device)
    source_schedule = in_precision(replace(schedule, seed=SOURCE.seed), source_stage, s.precision)
    schedules = {architecture: in_precision(schedule, stage, s.precision) for architecture, stage in targets.items()}
    puvae_schedule = in_precision(puvae_schedule, puvae_stage, s.precision)
    plan_classifier(source_stage, SOURCE.architecture, dataset, source_schedule).check()
    for architecture, stage in targets.items():
        plan_classifier(stage, architecture, dataset, schedules[architecture]).check()
    plan_puvae(puvae_stage, dataset, recipe, puvae_schedule, start).check()
    make_folder(folder)

    source = train_classifier(source_stage, SOURCE.architecture, dataset, source_schedule)
    results: dict[str, Any] = {"source": {"accuracy": accuracy(source, dataset.validation)}}
    for architecture, stage in targets.items():
        target = train_classifier(stage, architecture, dataset, schedules[architecture])
        results[stage.name] = {"accuracy": accuracy(target, dataset.validation)}
    vae, score = train_puvae(puvae_stage, source, dataset, recipe, puvae_schedule, start)
    results[puvae_stage.name] = {
        "accuracy": projection_accuracy(vae, dataset.validation, score),
        "accuracy_rmse": projection_accuracy(vae, dataset.validation, Score()),
    }
    summary = {"dataset": dataset.name, "split": "validation", "results": results}
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def _puvae_plan(s: Settings, dataset: Dataset) -> tuple[Recipe, Schedule, Start]:
    recipe = recipe_for(s.recipe, dataset)
    recipe = replace(
        recipe,
        source=given(s.source_weight, recipe.source),
        ranking=given(s.ranking_weight, recipe.ranking),
        augmented=s.augment,
        augmented_source=s.augment_source,
    )
    replays = given(s.replays, REPLAYS if recipe.self_attack else 1)
    epochs = given(s.epochs, PUVAE_SCHEDULE.epochs)
    schedule = replace(
        PUVAE_SCHEDULE, epochs=epochs, batch=s.batch, learning_rate=s.learning_rate, replays=replays
    ).fit_to(len(dataset.train))
    if s.init is None:
        ranks = Ranks(*s.ranks or ())
        check_ranks(ranks)
        if recipe.threshold_start and ranks.trunk is not None:
            raise ContractError(
                f"ranks={tuple(ranks)}: images that are black and white start from thresholds, for which the "
                "convolutions have to be dense; leave --ranks out, and factor the trained model with `puvae low-rank`"
            )
        return recipe, schedule, Start(ranks, s.normalized or any_light(dataset))
    if s.ranks or s.normalized:
        raise ContractError(
            f"init={s.init}: its weights decide ranks and normalisation; leave --ranks, --normalized out"
        )
    return recipe, schedule, start_from(s.init, dataset)


def start_from(file: Path, dataset: Dataset) -> Start:
    """The weights in `file`.

    Raises:
        CheckpointError: no such file, or not a PuVAE.
        ContractError: made for other images or classes.
    """
    model, meta = load_puvae(file)
    require_made_for(file, meta, dataset, "give --init another model")
    return Start(model.ranks, model.normalized, file)


__getattr__ = renamed(__name__, {name: f"puvae_rt.training.plan:{name}" for name in ("described", "require_same")})
