"""`python -m puvae_rt.train_baselines`: the defences that PuVAE is compared with, of one dataset.

magnet: the reformer. defense_gan: generator and critic. adv_training: a classifier trained on FGSM examples of the
undefended classifier of the same architecture, which `python -m puvae_rt.train` has to have trained before.
Every training resumes where it was killed and is skipped once its weights are there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from puvae_rt.data import KNOWN, Dataset, load_dataset
from puvae_rt.errors import CheckpointError, PuvaeError
from puvae_rt.models.classifiers import ARCHITECTURES, classifier
from puvae_rt.models.magnet import reformer
from puvae_rt.robustness.radii import radii_of
from puvae_rt.training.artefacts import (
    GENERATOR,
    REFORMER,
    load_classifier,
    load_generator,
    load_reformer,
    save_classifier,
    save_network,
)
from puvae_rt.training.baselines import AdversarialTask, Gan, GanTask, ReformerTask
from puvae_rt.training.loop import AdamSettings
from puvae_rt.training.recipes import Schedule
from puvae_rt.training.selection import accuracy
from puvae_rt.training.stages import Stage, require_same, seeded, train_stage

SCHEDULES = {
    "magnet": Schedule(epochs=20, batch=256),
    "defense_gan": Schedule(epochs=6, batch=50, learning_rate=1e-4),
    "adv_training": Schedule(epochs=3, seed=7),
}
GAN_ADAM = AdamSettings(betas=(0.5, 0.9), decay=False)
Report = dict[str, Any]


def train_magnet(stage: Stage, dataset: Dataset, schedule: Schedule) -> Report:
    """MagNet's reformer."""
    history = {"schedule": asdict(schedule)}
    if not stage.weights.exists():
        model = seeded(schedule.seed, lambda: reformer(dataset.contract))
        train_stage(stage, ReformerTask(model, dataset.contract), dataset.train, schedule, identity(dataset))
        save_network(stage.weights, model, REFORMER, dataset, history)
    require_same(stage, load_reformer(stage.weights)[1], history)
    return history


def train_defense_gan(stage: Stage, dataset: Dataset, schedule: Schedule) -> Report:
    """The generator; its critic stays in the checkpoint."""
    history = {"schedule": asdict(schedule)}
    if not stage.weights.exists():
        model = seeded(schedule.seed, lambda: Gan(dataset.contract))
        train_stage(stage, GanTask(model), dataset.train, schedule, identity(dataset), GAN_ADAM)
        save_network(stage.weights, model.generator, GENERATOR, dataset, history)
    require_same(stage, load_generator(stage.weights)[1], history)
    return history


def train_adversarially(
    stage: Stage, dataset: Dataset, schedule: Schedule, architecture: str, epsilon: float
) -> Report:
    """A classifier trained on FGSM examples of the undefended one beside it."""
    history = {"schedule": asdict(schedule), "epsilon": epsilon}
    if not stage.weights.exists():
        attacked, _ = load_classifier(stage.folder / f"classifier_{architecture.lower()}.safetensors")
        model = seeded(schedule.seed, lambda: classifier(architecture, dataset.contract, len(dataset.classes)))
        task = AdversarialTask(model, attacked, epsilon)
        named = identity(dataset) | {"architecture": architecture, "epsilon": epsilon}
        train_stage(stage, task, dataset.train, schedule, named)
        save_classifier(stage.weights, model, architecture, dataset, history)
    model, meta = load_classifier(stage.weights)
    require_same(stage, meta, history | {"architecture": architecture})
    return history | {"accuracy": accuracy(model, dataset.validation)}


def identity(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "images": len(dataset.train)}


def run(args: argparse.Namespace) -> Report:
    dataset = load_dataset(args.dataset, args.data)
    if args.limit:
        dataset = replace(dataset, train=dataset.train.head(args.limit))
    folder: Path = args.out / dataset.name
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; run `python -m puvae_rt.train` with the same --out first")
    given = {k: v for k in ("epochs", "batch") if (v := getattr(args, k)) is not None}
    schedule = replace(SCHEDULES[args.baseline], **given)
    simple: dict[str, Callable[[Stage, Dataset, Schedule], Report]]
    simple = {"magnet": train_magnet, "defense_gan": train_defense_gan}
    if args.baseline in simple:
        return {args.baseline: simple[args.baseline](Stage(folder, args.baseline), dataset, schedule)}
    epsilon = args.epsilon if args.epsilon is not None else radii_of(dataset.contract).epsilon
    names = {a: f"adv_training_{a.lower()}" for a in args.target}
    return {n: train_adversarially(Stage(folder, n), dataset, schedule, a, epsilon) for a, n in names.items()}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m puvae_rt.train_baselines", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    epochs = ", ".join(f"{name} {schedule.epochs}" for name, schedule in SCHEDULES.items())
    p.add_argument("--dataset", default="mnist", help=f"{', '.join(KNOWN)}, or any name with --data (default: mnist)")
    p.add_argument("--data", type=Path, help=".npz, folder of .npz files, or folder tree split/class/*.png|jpg")
    p.add_argument("--out", type=Path, default=Path("runs"), help="weights go to OUT/DATASET (default: runs)")
    p.add_argument("--baseline", choices=sorted(SCHEDULES), required=True)
    p.add_argument("--target", nargs="+", choices=sorted(ARCHITECTURES), default=["A"], help="of adv_training")
    p.add_argument("--epsilon", type=float, help="of adv_training's FGSM (default: the dataset's attack radius)")
    p.add_argument("--epochs", type=int, help=f"(default: {epochs})")
    p.add_argument("--batch", type=int, help="images a step")
    p.add_argument("--limit", type=int, help="train on the first LIMIT images only")
    p.add_argument("--json", action="store_true", help="print the summary as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        report = run(args)
    except PuvaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        for name, entry in report.items():
            print(name, f"validation accuracy {100 * entry['accuracy']:.1f}%" if "accuracy" in entry else "trained")
    return 0


if __name__ == "__main__":
    sys.exit(main())
