"""What every command does round its work: errors in one line, JSON or text, exit codes."""

from __future__ import annotations

import argparse
import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from puvae_rt.errors import PuvaeError
from puvae_rt.runtime.machine import cpu_flags

FAILED, INTERRUPTED = 2, 130
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one is Arm's
EXTRAS = {
    "torch": "train",
    "matplotlib": "train",
    "tensorrt_rtx": "rtx",
    "cv2": "opencv",
}  # module -> extra that installs it


def run_command(work: Callable[[], Any], show: Callable[[Any], str], as_json: bool, hint: str = "") -> int:
    """Prints `work()` as JSON or as `show` words it, and returns the exit code; `hint` is printed after Ctrl-C."""
    try:
        result = work()
    except PuvaeError as error:
        return _fail(f"error: {error}", FAILED)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        extra = EXTRAS[error.name]
        return _fail(f"error: {error.name} is not installed; python -m pip install 'puvae-rt[{extra}]'", FAILED)
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise  # not about a file: ours to mend
        return _fail(f"error: {error}; expected a path that can be read and written, and room on its disk", FAILED)
    except KeyboardInterrupt:
        return _fail(f"interrupted{': ' if hint else ''}{hint}", INTERRUPTED)
    print(json.dumps(result, indent=2) if as_json else show(result))
    return 0


def add_dataset(p: argparse.ArgumentParser) -> None:
    """--dataset and --data, which `puvae_rt.data.load_dataset` takes."""
    from puvae_rt.data import KNOWN  # lazily: only commands on datasets need what it imports

    p.add_argument("--dataset", default="mnist", help=f"{', '.join(KNOWN)}, or any name with --data (default: mnist)")
    p.add_argument("--data", type=Path, help=".npz, folder of .npz files, or folder tree train|test/CLASS/* of images")


def add_bf16(p: argparse.ArgumentParser) -> None:
    """--bf16, of trainings."""
    p.add_argument("--bf16", action="store_true", help="multiply in bfloat16: for CPUs with AVX-512 BF16 or AMX")


def note_slow_bf16() -> None:
    """Says on stderr when this processor multiplies bfloat16 in software only."""
    flags = cpu_flags()
    if flags and not BF16_FLAGS.intersection(flags):
        names = "/".join(sorted(BF16_FLAGS))
        print(
            f"note: --bf16 on a processor without {names} takes over ten times as long as FP32; leave it out",
            file=sys.stderr,
        )


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
