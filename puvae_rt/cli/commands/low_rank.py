"""Make the large layers of a trained PuVAE products of two thin ones each, and train it a little longer.

FC1 alone holds 25,088 x 1,024 weights, which no single frame can amortize; the trunk's two large convolutions take most
of the multiplications. The outputs of these layers over real images fill few dimensions: those are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, option
from puvae_rt.training.recipes import SHIPPED_RANKS
from puvae_rt.training.settings import AUTO, DEVICES, LowRankSettings

HINT = shared.CONTINUE


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae low-rank`."""

    dataset: str = option(LowRankSettings.dataset, help=shared.DATASET_HELP)
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)
    runs: Path = option(LowRankSettings.runs, help=f"{shared.RUNS_HELP}; read and written to", role=SEALED)
    name: str = option(LowRankSettings.puvae, help="name of the full model's file in RUNS/DATASET", old=("--puvae",))
    ranks: tuple[int, int, int] = option(
        tuple(SHIPPED_RANKS), help="ranks of PuVAE's large layers", least=1, metavar=("FC1", "FC2", "TRUNK")
    )
    fc1: int | None = option(None, help="rank of FC1", instead="--ranks FC1 FC2 TRUNK")
    fc2: int | None = option(None, help="rank of FC2", instead="--ranks FC1 FC2 TRUNK")
    trunk: int | None = option(None, help="rank of the convolutions", instead="--ranks FC1 FC2 TRUNK")
    epochs: int = option(LowRankSettings.epochs, help="epochs of the training behind the factoring", least=1)
    validation_images: int = option(
        LowRankSettings.validation, help="number of validation images of the report", least=1, old=("--validation",)
    )
    device: str = option(AUTO, help=shared.DEVICE_HELP, choices=DEVICES)


def run(options: Options) -> Outcome:
    """Factor and train; validation accuracy of every step."""
    from puvae_rt.training.selection import accuracy_table

    device = shared.take_device(options.device)
    old = (options.fc1, options.fc2, options.trunk)
    fc1, fc2, trunk = (new if one is None else one for one, new in zip(old, options.ranks, strict=True))
    summary = shared.own("calib.low_rank").run(
        LowRankSettings(
            dataset=options.dataset,
            data=options.data,
            runs=options.runs,
            puvae=options.name,
            fc1=fc1,
            fc2=fc2,
            trunk=trunk,
            epochs=options.epochs,
            validation=options.validation_images,
            device=device,
        )
    )
    rows = ((name.replace("_", "-"), accuracy) for name, accuracy in summary["accuracy"].items())
    return Outcome(summary | {"device": device}, accuracy_table("FC1, FC2, trunk", rows))
