"""Keep trained baselines beside the results, so that any cell of the tables can be measured again without a training.

adv_training, pgd_training, magnet, defense_gan and puvae_paper of RUNS/DATASET go to BASELINES/DATASET. The weights are
stored in FP16; `puvae evaluate`, which finds them there, computes in FP32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import SEALED, option
from puvae_rt.evaluation.results import BASELINES
from puvae_rt.training.settings import RUNS


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae keep-baselines`."""

    dataset: str = option("mnist", help=shared.DATASET_HELP)
    runs: Path = option(RUNS, help=f"{shared.RUNS_HELP}; read", old=("--models",))
    baselines: Path = option(
        BASELINES, help="folder of kept baselines, with one folder per data set below it", role=SEALED
    )


def run(options: Options) -> Outcome:
    """Write the files; the size of each in bytes."""
    from puvae_rt.evaluation.baselines import keep_baselines

    sizes = keep_baselines(options.runs, options.dataset, options.baselines)
    return Outcome({"bytes": sizes}, "\n".join(f"{size:>9,} bytes  {name}" for name, size in sizes.items()))
