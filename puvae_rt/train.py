"""`python -m puvae_rt.train`: the source classifier, the target classifier and PuVAE of one dataset.

Every stage resumes where it was killed and is skipped once its weights are there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from puvae_rt.contract import Score
from puvae_rt.data import KNOWN, Dataset, Split, load_dataset
from puvae_rt.errors import CheckpointError, PuvaeError
from puvae_rt.models.classifiers import ARCHITECTURES, classifier
from puvae_rt.models.puvae import PuVAE
from puvae_rt.training.artefacts import load_classifier, load_puvae, save_classifier, save_puvae
from puvae_rt.training.curves import draw_curves
from puvae_rt.training.loop import Metrics, Task, fit
from puvae_rt.training.recipes import CLASSIFIER_SCHEDULE, PUVAE_SCHEDULE, RECIPES, SOURCE, Recipe, Schedule
from puvae_rt.training.selection import accuracy, projection_accuracy, tune_score
from puvae_rt.training.tasks import ClassifierTask, PuvaeTask

SUMMARY_FILE = "training.json"


class Stage(NamedTuple):
    """One model's files in the output folder."""

    folder: Path
    name: str

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.checkpoint.safetensors"

    @property
    def curve(self) -> Path:
        return self.folder / f"{self.name}.png"


def train_stage(stage: Stage, task: Task, split: Split, schedule: Schedule, identity: dict[str, Any]) -> None:
    """Trains with a progress bar and checkpoints, and draws the curve."""
    with tqdm(desc=stage.name, unit="step", mininterval=1.0) as bar:

        def progress(step: int, total: int, metrics: Metrics) -> None:
            bar.total = total
            bar.set_postfix({k: f"{v:.3g}" for k, v in metrics.items()}, refresh=False)
            bar.update(step - bar.n)

        curve = fit(task, split, schedule, identity, stage.checkpoint, progress)
    draw_curves(curve, stage.name, stage.curve)


def train_classifier(stage: Stage, architecture: str, dataset: Dataset, schedule: Schedule) -> nn.Module:
    """The classifier of this stage, trained now or read back."""
    history = {"schedule": asdict(schedule)}
    if not stage.weights.exists():
        model = seeded(schedule.seed, lambda: classifier(architecture, dataset.contract, len(dataset.classes)))
        identity = {"dataset": dataset.name, "images": len(dataset.train), "architecture": architecture}
        train_stage(stage, ClassifierTask(model), dataset.train, schedule, identity)
        save_classifier(stage.weights, model, architecture, dataset, history)
    model, meta = load_classifier(stage.weights)
    require_same(stage, meta, history | {"architecture": architecture})
    return model


def train_puvae(
    stage: Stage, source: nn.Module, dataset: Dataset, recipe: Recipe, schedule: Schedule
) -> tuple[PuVAE, Score]:
    """PuVAE and its selection score, trained and tuned now or read back."""
    history = {"recipe": asdict(recipe), "schedule": asdict(schedule)}
    if not stage.weights.exists():
        model = seeded(schedule.seed, lambda: PuVAE(dataset.contract, len(dataset.classes)))
        identity = {"dataset": dataset.name, "images": len(dataset.train), "recipe": asdict(recipe)}
        train_stage(stage, PuvaeTask(model, source, recipe), dataset.train, schedule, identity)
        score, table = tune_score(model, dataset.validation) if recipe.tuned_score else (Score(), [])
        save_puvae(stage.weights, model, dataset, score, history | {"score_search": table})
    model, meta = load_puvae(stage.weights)
    require_same(stage, meta, history)
    return model, Score(**meta["score"])


def seeded(seed: int, make: Callable[[], Any]) -> Any:
    """`make()` with PyTorch's generator seeded, and put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def require_same(stage: Stage, meta: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = sorted(k for k, v in wanted.items() if meta.get(k) != json.loads(json.dumps(v)))
    if differing:
        raise CheckpointError(f"{stage.weights}: trained with other {', '.join(differing)}; choose another --out")


def run(args: argparse.Namespace) -> dict[str, Any]:
    dataset = load_dataset(args.dataset, args.data)
    if args.limit:
        dataset = replace(dataset, train=dataset.train.head(args.limit))
    folder: Path = args.out / dataset.name
    folder.mkdir(parents=True, exist_ok=True)
    classes = replace(CLASSIFIER_SCHEDULE, epochs=args.classifier_epochs or CLASSIFIER_SCHEDULE.epochs)
    source_schedule = replace(classes, seed=SOURCE.seed)
    source = train_classifier(Stage(folder, "source"), SOURCE.architecture, dataset, source_schedule)
    results: dict[str, Any] = {"source": {"accuracy": accuracy(source, dataset.validation)}}
    for architecture in args.target:
        name = f"classifier_{architecture.lower()}"
        target = train_classifier(Stage(folder, name), architecture, dataset, classes)
        results[name] = {"accuracy": accuracy(target, dataset.validation)}
    schedule = replace(PUVAE_SCHEDULE, epochs=args.epochs or PUVAE_SCHEDULE.epochs, batch=args.batch)
    recipe = RECIPES[args.recipe]
    vae, score = train_puvae(Stage(folder, f"puvae_{recipe.name}"), source, dataset, recipe, schedule)
    results[f"puvae_{recipe.name}"] = {
        "accuracy": projection_accuracy(vae, dataset.validation, score),
        "accuracy_rmse": projection_accuracy(vae, dataset.validation, Score()),
    }
    summary = {"dataset": dataset.name, "split": "validation", "results": results}
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m puvae_rt.train", description=__doc__)
    p.add_argument("--dataset", default="mnist", help=f"{', '.join(KNOWN)}, or any name with --data (default: mnist)")
    p.add_argument("--data", type=Path, help=".npz, folder of .npz files, or folder tree split/class/*.png|jpg")
    p.add_argument("--out", type=Path, default=Path("runs"), help="weights go to OUT/DATASET (default: runs)")
    p.add_argument("--recipe", choices=sorted(RECIPES), default="ours", help="PuVAE's losses (default: ours)")
    p.add_argument("--target", nargs="*", choices=sorted(ARCHITECTURES), default=["A"], help="defended classifiers")
    p.add_argument("--epochs", type=int, help=f"of PuVAE (default: {PUVAE_SCHEDULE.epochs})")
    p.add_argument("--classifier-epochs", type=int, help=f"(default: {CLASSIFIER_SCHEDULE.epochs})")
    p.add_argument("--batch", type=int, default=PUVAE_SCHEDULE.batch, help="images a step (default: %(default)s)")
    p.add_argument("--limit", type=int, help="train on the first LIMIT images only")
    p.add_argument("--json", action="store_true", help="print the summary as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        summary = run(args)
    except PuvaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    if args.json:
        print(json.dumps(summary, indent=2))
    else:
        for name, result in summary["results"].items():
            print(name, "  ".join(f"{k} {100 * v:.1f}%" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
