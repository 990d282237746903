"""Builds and launches the kernels of faulty.cu. `python -m tests.kernels.faulty ENTRY` does so in the sanitiser."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from pathlib import Path

import numpy as np

from puvae_rt.kernels import shim

SOURCE = Path(__file__).with_name("faulty.cu")
ENTRIES = tuple(re.findall(r"__global__ void (\w+)\(", SOURCE.read_text()))
THREADS, BLOCKS = 32, 2


@functools.cache
def built_library() -> shim.Shim:
    sanitize = os.environ.get(shim.SANITIZE_VARIABLE) == "1"
    return shim.Shim(shim.build({SOURCE: ENTRIES}, sanitize=sanitize))


def run(entry: str, seed: int = 0, blocks: int = 1, threads: int = THREADS) -> np.ndarray:
    out = np.zeros(blocks * threads + (entry == "depends_on_the_order"), np.int32)
    if entry == "overflows_an_integer":
        out[0] = 1
    built_library().launch(
        entry, (blocks, 1, 1), (threads, 1, 1), 4 * threads, (ctypes.c_void_p(out.ctypes.data),), seed
    )
    return out


if __name__ == "__main__":
    run(sys.argv[1])
