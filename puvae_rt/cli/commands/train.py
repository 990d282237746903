"""Train the source classifier, the target classifiers and PuVAE of one data set.

Every stage resumes where it was stopped and is skipped once its weights are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, option
from puvae_rt.errors import CheckpointError
from puvae_rt.models.spec import ARCHITECTURES
from puvae_rt.training.recipes import CLASSIFIER_SCHEDULE, PUVAE_SCHEDULE, RECIPES, REPLAYS
from puvae_rt.training.settings import AUTO, BF16, DEVICES, PRECISIONS, TrainSettings

HINT = shared.CONTINUE
_OURS = RECIPES["ours"]
_DEFAULTS = TrainSettings._field_defaults


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae train`."""

    dataset: str = option(_DEFAULTS["dataset"], help=shared.DATASET_HELP)
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)
    runs: Path = option(_DEFAULTS["out"], help=f"{shared.RUNS_HELP}; written to", old=("--out",), role=SEALED)
    recipe: str = option(_DEFAULTS["recipe"], help="losses of PuVAE", choices=sorted(RECIPES))
    classifiers: tuple[str, ...] = option(
        _DEFAULTS["targets"],
        help="architectures of the classifiers to defend; none trains PuVAE alone",
        choices=sorted(ARCHITECTURES),
        none=True,
        old=("--target",),
    )
    epochs: int | None = option(
        None, help="epochs of PuVAE's training", least=1, default_text=str(PUVAE_SCHEDULE.epochs)
    )
    classifier_epochs: int | None = option(
        None, help="epochs of each classifier's training", least=1, default_text=str(CLASSIFIER_SCHEDULE.epochs)
    )
    mini_batch: int = option(_DEFAULTS["batch"], help="images of a training step", least=1, old=("--batch",))
    train_images: int | None = option(
        None, help="number of training images to use", least=1, default_text="all", old=("--limit",)
    )
    replays: int | None = option(
        None,
        help="steps on each mini-batch of PuVAE; fewer see more images in as many steps",
        least=1,
        default_text=f"{REPLAYS} where the recipe attacks itself, else 1",
    )
    ranks: tuple[int, int, int] | None = option(
        None,
        help="ranks of PuVAE's large layers, trained thin from the start, in half the time",
        least=1,
        metavar=("FC1", "FC2", "TRUNK"),
        default_text="dense layers",
    )
    source_weight: float | None = option(
        None,
        help="weight of the source classifier's loss; more where projections are not recognized",
        least=0,
        default_text=f"the recipe's, {_OURS.source:g} in 'ours'",
    )
    augment: bool = option(
        False, help="train PuVAE on images turned, moved and lit at random: for photographs, which are always too few"
    )
    augment_source: bool = option(
        False,
        help="show each reconstruction to the source classifier turned, moved and lit at random, so that what "
        "convinces it convinces others as well",
    )
    ranking_weight: float | None = option(
        None,
        help="weight of the loss that trains the choice of the class",
        least=0,
        default_text=f"the recipe's, {_OURS.ranking:g} in 'ours'",
    )
    init: Path | None = option(
        None,
        help="weights of PuVAE to start from, with their ranks: a model that ships, or a .safetensors file",
        metavar="MODEL",
        default_text="random weights",
    )
    learning_rate: float = option(
        _DEFAULTS["learning_rate"],
        help="learning rate of PuVAE's training; half of the default or less goes with --init",
        above=0,
    )
    normalized: bool = option(
        False, help="show PuVAE every image at the same contrast, as is always done for traffic_signs"
    )
    device: str = option(AUTO, help=shared.DEVICE_HELP, choices=DEVICES)
    precision: str = option(AUTO, help=shared.PRECISION_HELP, choices=PRECISIONS)
    bf16: bool = option(False, help="multiply in bfloat16", instead="--precision bf16")


def run(options: Options) -> Outcome:
    """Train what is not there yet; validation accuracies."""
    from puvae_rt.runtime.assets import WEIGHTS_FILE, shipped, shipped_names
    from puvae_rt.training.stages import train_dataset

    device = shared.take_device(options.device)
    precision = shared.take_precision(BF16 if options.bf16 else options.precision, device)
    init = options.init
    if init is not None and str(init) in shipped_names():
        init = shipped(str(init)).path(WEIGHTS_FILE)
    elif init is not None and not init.exists():
        raise CheckpointError(
            f"--init {init}: no such file, and no model of that name ships ({', '.join(shipped_names())}); give a "
            ".safetensors that `puvae train` wrote, or one of these names"
        )
    settings = TrainSettings(
        dataset=options.dataset,
        data=options.data,
        out=options.runs,
        recipe=options.recipe,
        targets=options.classifiers,
        epochs=options.epochs,
        classifier_epochs=options.classifier_epochs,
        batch=options.mini_batch,
        limit=options.train_images,
        precision=precision,
        ranks=options.ranks,
        replays=options.replays,
        source_weight=options.source_weight,
        normalized=options.normalized,
        ranking_weight=options.ranking_weight,
        augment=options.augment,
        augment_source=options.augment_source,
        learning_rate=options.learning_rate,
        init=init,
        device=device,
    )
    summary = train_dataset(settings) | {"device": device}
    return Outcome(summary, _table(summary))


def _table(summary: dict[str, Any]) -> str:
    lines = (
        f"{name}  " + "  ".join(f"{measure} {100 * value:.1f}%" for measure, value in result.items())
        for name, result in summary["results"].items()
    )
    return "\n".join(lines)
