"""The GPU day: everything that is measured on a borrowed GPU without network, in one command on each side.

    python -m tests.gpu_day prepare                  # on any machine: fills .gpu, and says whether it fits
    python tests/gpu_day run --out "$OUT"            # on the GPU's machine, with the checkout and .gpu
    python -m tests.gpu_day fold FOLDER              # back here: results/gpu.json, results/gpu.md, README

`run --device emulated` tries the whole of it without a GPU. docs/howto/gpu_day.md has the rest.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import ModuleType

if not __package__:  # `python tests/gpu_day`, where a stranger's package may be called `tests`, too
    _root = Path(__file__).resolve().parents[2]
    sys.path[0] = str(_root)
    sys.modules["tests"] = ModuleType("tests")
    sys.modules["tests"].__path__ = [str(_root / "tests")]

from tests.gpu_day.plan import BUDGET, CARRIED, CUDA, EMULATED, ROOT, SKIP_CODE, STAGES, WORK

NAMES = [stage.name for stage in STAGES]


def parser() -> argparse.ArgumentParser:
    """The three commands, and `stage`, which `run` starts."""
    shared = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter}
    made = argparse.ArgumentParser(prog="python -m tests.gpu_day", description=__doc__.split("\n", maxsplit=1)[0])
    commands = made.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="fill .gpu with what has to travel", **shared)
    prepare.add_argument("--models", nargs="+", help="shipped models; those whose images are at hand without it")
    prepare.add_argument("--images", type=int, default=1000, help="images of each model that are compared")
    prepare.add_argument("--train", nargs="*", default=[], help="data sets that travel whole, for the trainings")
    prepare.add_argument("--python", default="3.12", help="the other machine's Python, for which wheels are fetched")
    prepare.add_argument("--capability", default="90", help="the GPU's, for which nvcc compiles the kernels")
    prepare.add_argument("--tensorrt8", type=Path, help="folder with wheels of TensorRT 8 and what it needs")
    prepare.add_argument("--no-wheels", action="store_true", help="the other machine has the package's dependencies")
    prepare.add_argument("--to", type=Path, default=CARRIED, help="the folder")
    run = commands.add_parser("run", help="run every stage, on the GPU's machine", **shared)
    run.add_argument("--out", type=Path, required=True, help="folder for what comes back")
    run.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="STAGE", help=", ".join(NAMES))
    run.add_argument("--again", action="store_true", help="run finished stages, too")
    run.add_argument("--budget", type=float, default=BUDGET, help="seconds for all stages")
    fold = commands.add_parser("fold", help="put what came back into results and README", **shared)
    fold.add_argument("folders", type=Path, nargs="*", help="of what came back, in order; none makes the pages anew")
    fold.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    stage = commands.add_parser("stage", help="one stage in this process")
    stage.add_argument("module")
    stage.add_argument("--json", type=Path, required=True)
    stage.add_argument("--seconds", type=float, default=0)
    for command in (run, stage):
        command.add_argument("--device", choices=(CUDA, EMULATED), default=CUDA, help="emulated: a trial on the CPU")
        command.add_argument("--work", type=Path, default=WORK, help="folder of that machine, kept between calls")
        command.add_argument("--carried", type=Path, default=CARRIED, help="the prepared folder")
        command.add_argument("--models", nargs="+", default=[], help="shipped models; all prepared ones without it")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 1 where a stage failed or what was prepared does not fit."""
    asked = parser().parse_args(arguments)
    return {"prepare": _prepare, "run": _run, "fold": _fold, "stage": _stage}[asked.command](asked)


def _prepare(asked: argparse.Namespace) -> int:
    from tests.gpu_day.prepare import prepare

    return 0 if prepare(asked) else 1


def _run(asked: argparse.Namespace) -> int:
    from tests.gpu_day.run import Run

    run = Run(asked.out, asked.work, asked.device, asked.models, asked.carried, asked.budget)
    return 0 if run(asked.only, asked.again) else 1


def _fold(asked: argparse.Namespace) -> int:
    from tests.gpu_day.fold import fold

    return 0 if fold(asked.folders, asked.root) else 1


def _stage(asked: argparse.Namespace) -> int:
    from tests.gpu_day.stage import Day, Skipped, perform

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    day = Day(asked.device, tuple(asked.models), asked.carried, asked.work, asked.json, asked.seconds)
    try:
        perform(asked.module, day)
    except Skipped as reason:
        day.tell("skipped", value=str(reason))
        return SKIP_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
