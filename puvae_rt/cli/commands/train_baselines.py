"""Train one of the defenses that PuVAE is compared with, on one data set.

magnet: the reformer. defense_gan: generator and critic. adv_training: a classifier trained on FGSM examples of the
undefended classifier of the same architecture, which `puvae train` has to have trained before (FGSM training).
pgd_training: a classifier trained on PGD examples of its own (Madry et al. 2018).
Every training resumes where it was stopped and is skipped once its weights are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, option
from puvae_rt.models.spec import ARCHITECTURES
from puvae_rt.training.recipes import BASELINE_SCHEDULES
from puvae_rt.training.settings import AUTO, BF16, DEVICES, PRECISIONS, BaselineSettings, TrainSettings

HINT = shared.CONTINUE
_DEFAULTS = TrainSettings._field_defaults
_EPOCHS = ", ".join(f"{name} {schedule.epochs}" for name, schedule in BASELINE_SCHEDULES.items())
_BATCHES = ", ".join(f"{name} {schedule.batch}" for name, schedule in BASELINE_SCHEDULES.items())


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae train-baselines`."""

    baseline: str = option(help="defense to train", choices=sorted(BASELINE_SCHEDULES))
    dataset: str = option(_DEFAULTS["dataset"], help=shared.DATASET_HELP)
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)
    runs: Path = option(_DEFAULTS["out"], help=f"{shared.RUNS_HELP}; read and written to", old=("--out",), role=SEALED)
    classifiers: tuple[str, ...] = option(
        _DEFAULTS["targets"],
        help="architectures of the classifiers of adv_training and pgd_training",
        choices=sorted(ARCHITECTURES),
        old=("--target",),
    )
    epsilon: float | None = option(
        None,
        help="L-infinity radius of adv_training's FGSM and pgd_training's PGD, of pixels in [0,1]",
        above=0,
        most=1,
        default_text="the data set's attack radius",
    )
    epochs: int | None = option(None, help="epochs of the training", least=1, default_text=_EPOCHS)
    mini_batch: int | None = option(
        None, help="images of a training step", least=1, default_text=_BATCHES, old=("--batch",)
    )
    train_images: int | None = option(
        None, help="number of training images to use", least=1, default_text="all", old=("--limit",)
    )
    device: str = option(AUTO, help=shared.DEVICE_HELP, choices=DEVICES)
    precision: str = option(AUTO, help=shared.PRECISION_HELP, choices=PRECISIONS)
    bf16: bool = option(False, help="multiply in bfloat16", instead="--precision bf16")


def run(options: Options) -> Outcome:
    """Train what is not there yet."""
    from puvae_rt.training.baseline_stages import train_baseline

    device = shared.take_device(options.device)
    precision = shared.take_precision(BF16 if options.bf16 else options.precision, device)
    report = train_baseline(
        BaselineSettings(
            dataset=options.dataset,
            baseline=options.baseline,
            data=options.data,
            out=options.runs,
            targets=options.classifiers,
            epsilon=options.epsilon,
            epochs=options.epochs,
            batch=options.mini_batch,
            limit=options.train_images,
            precision=precision,
            device=device,
        )
    )
    lines = (
        f"{name}  " + (f"accuracy {100 * entry['accuracy']:.1f}%" if "accuracy" in entry else "trained")
        for name, entry in report.items()
    )
    return Outcome({name: entry | {"device": device} for name, entry in report.items()}, "\n".join(lines))
