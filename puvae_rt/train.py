"""`python -m puvae_rt.train`: the source classifier, the target classifiers and PuVAE of one dataset.

Every stage resumes where it was killed and is skipped once its weights are there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from puvae_rt.cli.command import add_bf16, add_dataset, note_slow_bf16, run_command
from puvae_rt.models.spec import ARCHITECTURES
from puvae_rt.runtime.assets import WEIGHTS_FILE, shipped, shipped_names
from puvae_rt.training.recipes import CLASSIFIER_SCHEDULE, PUVAE_SCHEDULE, RECIPES, REPLAYS


def train(args: argparse.Namespace) -> dict[str, Any]:
    from puvae_rt.training.stages import Settings, train_dataset  # needs PyTorch: `--help` does not

    if args.bf16:
        note_slow_bf16()
    if args.init and str(args.init) in shipped_names():
        args.init = shipped(str(args.init)).path(WEIGHTS_FILE)
    wanted = {name: value for name, value in vars(args).items() if name in Settings._fields}
    return train_dataset(Settings(**wanted))


def show(summary: dict[str, Any]) -> str:
    lines = (
        f"{name}  " + "  ".join(f"{measure} {100 * value:.1f}%" for measure, value in result.items())
        for name, result in summary["results"].items()
    )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m puvae_rt.train", description=__doc__)
    add_dataset(p)
    p.add_argument("--out", type=Path, default=Path("runs"), help="weights go to OUT/DATASET (default: runs)")
    p.add_argument("--recipe", choices=sorted(RECIPES), default="ours", help="PuVAE's losses (default: ours)")
    p.add_argument(
        "--target", dest="targets", nargs="*", choices=sorted(ARCHITECTURES), default=["A"], help="defended classifiers"
    )
    p.add_argument("--epochs", type=int, help=f"of PuVAE (default: {PUVAE_SCHEDULE.epochs})")
    p.add_argument("--classifier-epochs", type=int, help=f"(default: {CLASSIFIER_SCHEDULE.epochs})")
    p.add_argument("--batch", type=int, default=PUVAE_SCHEDULE.batch, help="images a step (default: %(default)s)")
    p.add_argument("--limit", type=int, help="train on the first LIMIT images only")
    p.add_argument(
        "--replays",
        type=int,
        help=f"steps on each mini-batch of PuVAE, {REPLAYS} by default where the recipe attacks itself: fewer see more "
        "images in as many steps",
    )
    p.add_argument(
        "--ranks",
        nargs=3,
        type=int,
        metavar=("FC1", "FC2", "TRUNK"),
        help="train at low rank from the start: half the time of the dense layers and calib.low_rank behind them",
    )
    p.add_argument(
        "--source-weight",
        type=float,
        metavar="WEIGHT",
        help=f"of the source classifier's loss (default: the recipe's, {RECIPES['ours'].source:g}): more where "
        "projections are not recognised",
    )
    p.add_argument(
        "--augment",
        action="store_true",
        help="PuVAE is trained on images turned, moved and lit at random: photographs, of which there never are enough",
    )
    p.add_argument(
        "--augment-source",
        action="store_true",
        help="the source classifier sees each reconstruction turned, moved and lit at random: what convinces it then "
        "convinces others",
    )
    p.add_argument(
        "--ranking-weight",
        type=float,
        metavar="WEIGHT",
        help=f"of the loss that trains the selection (default: the recipe's, {RECIPES['ours'].ranking:g})",
    )
    p.add_argument(
        "--init",
        type=Path,
        metavar="MODEL",
        help="go on from these weights of PuVAE, with their ranks: a model that ships, or a .safetensors file",
    )
    p.add_argument(
        "--learning-rate",
        type=float,
        default=PUVAE_SCHEDULE.learning_rate,
        help="of PuVAE; half of it, or less, behind --init (default: %(default)s)",
    )
    p.add_argument(
        "--normalized",
        action="store_true",
        help="PuVAE sees every image at the same contrast, as it does by default with traffic_signs",
    )
    add_bf16(p)
    p.add_argument("--json", action="store_true", help="print the summary as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    hint = "the same command goes on from the last checkpoint"
    return run_command(lambda: train(args), show, args.json, hint)


if __name__ == "__main__":
    sys.exit(main())
