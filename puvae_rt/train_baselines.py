"""`python -m puvae_rt.train_baselines`: the defenses that PuVAE is compared with, of one dataset.

magnet: the reformer. defense_gan: generator and critic. adv_training: a classifier trained on FGSM examples of the
undefended classifier of the same architecture, which `python -m puvae_rt.train` has to have trained before.
Every training resumes where it was killed and is skipped once its weights are there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from puvae_rt.cli.command import add_bf16, add_dataset, note_slow_bf16, run_command
from puvae_rt.models.spec import ARCHITECTURES
from puvae_rt.training.recipes import BASELINE_SCHEDULES


def train(args: argparse.Namespace) -> dict[str, Any]:
    from puvae_rt.training.baseline_stages import Settings, train_baseline  # needs PyTorch: `--help` does not

    if args.bf16:
        note_slow_bf16()
    return train_baseline(Settings(**{name: value for name, value in vars(args).items() if name in Settings._fields}))


def show(report: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}  " + (f"accuracy {100 * entry['accuracy']:.1f}%" if "accuracy" in entry else "trained")
        for name, entry in report.items()
    )


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m puvae_rt.train_baselines", description=__doc__)
    epochs = ", ".join(f"{name} {schedule.epochs}" for name, schedule in BASELINE_SCHEDULES.items())
    add_dataset(p)
    p.add_argument("--out", type=Path, default=Path("runs"), help="weights go to OUT/DATASET (default: runs)")
    p.add_argument("--baseline", choices=sorted(BASELINE_SCHEDULES), required=True)
    p.add_argument(
        "--target", dest="targets", nargs="+", choices=sorted(ARCHITECTURES), default=["A"], help="of adv_training"
    )
    p.add_argument("--epsilon", type=float, help="of adv_training's FGSM (default: the dataset's attack radius)")
    p.add_argument("--epochs", type=int, help=f"(default: {epochs})")
    p.add_argument("--batch", type=int, help="images a step")
    p.add_argument("--limit", type=int, help="train on the first LIMIT images only")
    add_bf16(p)
    p.add_argument("--json", action="store_true", help="print the summary as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    hint = "the same command goes on from the last checkpoint"
    return run_command(lambda: train(args), show, args.json, hint)


if __name__ == "__main__":
    sys.exit(main())
