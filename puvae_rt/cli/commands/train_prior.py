"""Train the prior of a data set, a small network whose log probabilities enter PuVAE's choice, and tune the choice.

First come the source models that are attacked meanwhile; they are never defended. Every training resumes where it was
stopped and is skipped once its weights are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, option
from puvae_rt.training.settings import AUTO, BF16, DEVICES, PRECISIONS, PriorSettings

HINT = shared.CONTINUE
_DEFAULTS = PriorSettings._field_defaults


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae train-prior`."""

    dataset: str = option(_DEFAULTS["dataset"], help=shared.DATASET_HELP)
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)
    runs: Path = option(_DEFAULTS["out"], help=f"{shared.RUNS_HELP}; read and written to", role=SEALED)
    weights: Path | None = option(
        None,
        help="weights of the PuVAE that the prior is for",
        default_text="puvae_ours[_low_rank].safetensors in --runs",
        role=READ,
    )
    epochs: int | None = option(None, help="epochs of the prior's training", least=1, default_text="the recipe's")
    mini_batch: int = option(_DEFAULTS["batch"], help="images of a training step", least=1)
    train_images: int | None = option(None, help="number of training images to use", least=1, default_text="all")
    device: str = option(AUTO, help=shared.DEVICE_HELP, choices=DEVICES)
    precision: str = option(AUTO, help=shared.PRECISION_HELP, choices=PRECISIONS)
    bf16: bool = option(False, help="multiply in bfloat16", instead="--precision bf16")


def run(options: Options) -> Outcome:
    """Train what is not there yet."""
    from puvae_rt.training.prior import train_prior

    device = shared.take_device(options.device)
    precision = shared.take_precision(BF16 if options.bf16 else options.precision, device)
    summary = train_prior(
        PriorSettings(
            dataset=options.dataset,
            data=options.data,
            out=options.runs,
            puvae=options.weights,
            epochs=options.epochs,
            batch=options.mini_batch,
            limit=options.train_images,
            precision=precision,
            device=device,
        )
    ) | {"device": device}
    results = dict(summary["results"])
    choice = results.pop("choice")
    lines = [f"{name}  accuracy {100 * entry['accuracy']:.1f}%" for name, entry in results.items()]
    kinds = ", ".join(f"{kind} {100 * value:.1f}%" for kind, value in choice["accuracy"].items())
    numbers = f"tau {choice['tau']:g}, prior_weight {choice['prior_weight']:.3g}, {choice['shortlist']} classes decoded"
    return Outcome(summary, "\n".join([*lines, f"choice  {numbers}: {kinds}"]))
