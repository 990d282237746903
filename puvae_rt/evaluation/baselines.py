"""`python -m puvae_rt.evaluation.baselines`: keeps trained baselines beside the results, so that any cell of the tables
can be measured again without a training.

adv_training, magnet, defense_gan and puvae_paper of MODELS/DATASET go to BASELINES/DATASET. The weights are stored in
FP16; `python -m puvae_rt.evaluate`, which finds them there, computes in FP32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from puvae_rt.cli.command import run_command
from puvae_rt.data import KNOWN
from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation.cells import ADV_TRAINING, DEFENSE_GAN, MAGNET, PUVAE_PAPER
from puvae_rt.evaluation.results import BASELINES

PATTERNS = (f"{ADV_TRAINING}_?", MAGNET, DEFENSE_GAN, f"{PUVAE_PAPER}*")


def keep_baselines(models: Path, dataset: str, baselines: Path) -> dict[str, int]:
    """Writes what is there and returns the size of each file in bytes.

    Raises:
        CheckpointError: no baseline in the folder, or one that is damaged or does not fit FP16.
    """
    from puvae_rt.training.checkpoint import load_tensors, save_tensors  # needs PyTorch: `--help` does not

    found = [path for pattern in PATTERNS for path in sorted((models / dataset).glob(f"{pattern}.safetensors"))]
    found = [path for path in found if not path.stem.endswith(".checkpoint")]
    if not found:
        raise CheckpointError(f"{models / dataset}: no baseline; train one with `python -m puvae_rt.train_baselines`")
    folder, sizes = baselines / dataset, {}
    for path in found:
        tensors, meta = load_tensors(path)
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        if bad := sorted(name for name, half in halves.items() if not half.isfinite().all()):
            raise CheckpointError(f"{path}: {bad[0]} does not fit FP16, expected values within 65,504; train again")
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / path.name, halves, meta)
        sizes[path.name] = (folder / path.name).stat().st_size
    return sizes


def keep(args: argparse.Namespace) -> dict[str, Any]:
    return {"bytes": keep_baselines(args.models, args.dataset, args.baselines)}


def show(report: dict[str, Any]) -> str:
    return "\n".join(f"{size:>9,} bytes  {name}" for name, size in report["bytes"].items())


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m puvae_rt.evaluation.baselines", description=__doc__)
    p.add_argument("--dataset", default="mnist", help=f"{', '.join(KNOWN)}, or your own (default: mnist)")
    p.add_argument("--models", type=Path, default=Path("runs"), help="of the trainings (default: runs)")
    p.add_argument("--baselines", type=Path, default=BASELINES, help="(default: %(default)s)")
    p.add_argument("--json", action="store_true", help="print the sizes as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_command(lambda: keep(args), show, args.json)


if __name__ == "__main__":
    sys.exit(main())
