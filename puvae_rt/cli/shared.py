"""What several commands' options say alike."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from puvae_rt.data.known import KNOWN
from puvae_rt.runtime.machine import AUTO, DEFAULT_THREADS, MAX_THREADS

DATASET_HELP = f"name of the data set: {', '.join(KNOWN)}, or any other name with --data"
DATA_HELP = "images of the data set: .npz, folder of .npz files, or folder tree train|test/CLASS/* of images"
DATA_DEFAULT = "the folder in PUVAE_DATA, else the download"
RUNS_HELP = "folder of trained weights, with one folder per data set below it"
RESULTS_HELP = "folder of measured results"
PRECISION_HELP = (
    "format of the multiplications: auto is what a training that goes on began in, else bf16 where a step of it is "
    "measured to be faster"
)
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is Arm's
DEVICE_HELP = "where PyTorch computes: auto takes a GPU where there is one that it can use"
SAMPLES_HELP = "test images and their labels, .npz"
MAX_SEED = 10**12  # PyTorch takes 64 bits, and trainings multiply a seed by a million
CONTINUE = "run the same command again to go on from the last checkpoint"


def note(line: str) -> None:
    """Tell of progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield what is told how much is done, and of how much if that is known; shown on a terminal, on standard error."""
    from tqdm import tqdm

    with tqdm(unit=f" {unit}", disable=None, mininterval=1.0) as bar:

        def told(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told


def take_device(asked: str) -> str:
    """The kind of device ("cpu", "cuda") that --device comes to, told on standard error; ContractError without it."""
    from puvae_rt.training.device import described, resolve

    device = resolve(asked)
    note(f"device: {described(device)}")
    return device.type


def take_precision(asked: str, device: str) -> str:
    """The precision of trainings that was asked for; what "auto" comes to here is told on standard error."""
    from puvae_rt.runtime.machine import cpu_flags
    from puvae_rt.training.precision import WORTHWHILE, speedup
    from puvae_rt.training.settings import BF16, FP32

    if asked == AUTO:
        ratio = speedup(device)
        taken = BF16 if ratio > WORTHWHILE else FP32
        note(f"precision: {taken} (bf16 measured {ratio:.2g} times as fast); a training that goes on keeps its own")
    elif asked == BF16 and device == "cpu" and (flags := cpu_flags()) and not BF16_FLAGS.intersection(flags):
        names = "/".join(sorted(BF16_FLAGS))
        note(f"note: bf16 on a processor without {names} takes over ten times as long as fp32; take --precision auto")
    return asked


SAMPLES_DEFAULT = "those that ship with the model"
VERIFIED_DATA_HELP = (
    "data set whose test images verify a model that ships none; given for another model, it is taken in place of "
    "those that ship"
)


def _threads(text: str) -> int | str:
    if text == AUTO:
        return AUTO
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number, or {AUTO}") from None


AUTO_HELP = f"or {AUTO}, which measures once for each model and keeps what it found"
THREADS: dict[str, Any] = {  # of a flag that takes "auto" as well
    "parse": _threads,
    "metavar": "N",
    "least": 1,
    "most": MAX_THREADS,
    "default_text": str(DEFAULT_THREADS),
}


def own(name: str) -> ModuleType:
    """A module of this package's `export`, `calib` or `demos`, whatever else has that name here."""
    from puvae_rt.toolchain import import_own

    return import_own(name)


def above_zero(text: str) -> float:
    """A number above 0; argparse tells of anything else."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0")
    return value


def milliseconds(text: str) -> float:
    """33, 33ms or 0.033s as milliseconds."""
    for unit, factor in (("ms", 1.0), ("s", 1e3), ("", 1.0)):
        if text.endswith(unit):
            return factor * above_zero(text.removesuffix(unit))
    raise AssertionError(text)  # every text ends with nothing
