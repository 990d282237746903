"""Microseconds of the host for a GPU frame, with everything of the driver's left out: python -m tests.gpu.host_work.

The pipeline, the CUDA layer and TensorRT's wrapper are the product's; each call of the driver's answers at once. What
remains is checks, regions, arguments, the frame's copy into page-locked memory, and the result.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda.bindings import driver as real

from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.files import temporary_folder, write_json
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.tensorrt import library
from puvae_rt.runtime.machine import cpu_model
from tests.device.conftest import cuda_over
from tests.gpu import fake_tensorrt
from tests.gpu.bundles import save_gpu_bundle

LIMIT_US = 40.0  # of a frame, p50; a whole frame of the smallest model is modelled at 73 us on the fastest GPU
AT_A_FRAME = (
    "cuCtxSetCurrent",
    "cuMemcpyHtoDAsync",
    "cuGraphExecKernelNodeSetParams",
    "cuGraphLaunch",
    "cuStreamSynchronize",
)
FRAME = np.zeros((480, 640, 3), np.uint8)
LOOP = "fixed loop"
REGIONS = [(280 + i, 200 + i, 80 + i % 7, 80) for i in range(64)]


@contextmanager
def pipeline() -> Iterator[GpuPipeline]:
    """A pipeline whose frames are replayed, over a driver that does nothing."""
    with pytest.MonkeyPatch.context() as patch, temporary_folder() as folder, EmulatedDevice() as device:
        patch.setattr(library, "load", lambda target: fake_tensorrt.FakeTensorrt(device, lambda: True))
        bundle = save_gpu_bundle(folder / "bundle", classifier=False, serialized=True)
        gpu = cuda_over(patch, device)
        with GpuPipeline.load(bundle, device=gpu) as pipeline:
            for region in REGIONS[:3]:  # enqueued, captured, replayed with other arguments
                pipeline.frame(FRAME, [region], "bgr8")
                pipeline.run(np.zeros((1, *pipeline.contract.shape), np.float32))
            api = gpu.driver.api
            for name in AT_A_FRAME:
                setattr(api, name, lambda *arguments: (real.CUresult.CUDA_SUCCESS,))
            try:
                yield pipeline
            finally:
                for name in AT_A_FRAME:
                    delattr(api, name)


def calls(pipeline: GpuPipeline) -> dict[str, Callable[[int], Any]]:
    """What is timed, by name; each is given the number of the call. Each frame's region is another than the last's."""
    image = np.zeros((1, *pipeline.contract.shape), np.float32)
    return {
        "frame": lambda i: pipeline.frame(FRAME, [REGIONS[i % len(REGIONS)]], "bgr8"),
        "batch of 1": lambda i: pipeline.run(image),
    }


def fixed_loop(_: int) -> None:
    """Work to measure by: what the interpreter of this machine does with 1,000 additions."""
    total = 0
    for number in range(1000):
        total += number


def microseconds(work: Mapping[str, Callable[[int], Any]], runs: int) -> dict[str, list[float]]:
    """Of each call, by name."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for i in range(runs):
        for name, call in work.items():
            start = time.perf_counter_ns()
            call(i)
            taken[name].append((time.perf_counter_ns() - start) / 1e3)
    return taken


def quietest(pipeline: GpuPipeline, rounds: int, runs: int) -> dict[str, list[float]]:
    """Microseconds of each call and of the fixed loop, each from the round in which its own median was smallest.

    They take turns call by call. What else runs on the machine does not slow them alike: a frame waits for memory, the
    loop does not.
    """
    work = {**calls(pipeline), LOOP: fixed_loop}
    found = [microseconds(work, runs) for _ in range(rounds + 1)][1:]  # the first warms up
    return {name: min((taken[name] for taken in found), key=lambda us: float(np.median(us))) for name in work}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="of which the quietest is told")
    parser.add_argument("--runs", type=int, default=1000, help="calls of each kind in a round")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = {}
    with pipeline() as made:
        for name, taken in quietest(made, asked.rounds, asked.runs).items():
            rows[name] = dict(zip(("p50", "p99"), map(float, np.percentile(taken, (50, 99))), strict=True))
            print(f"{name:12s}" + "".join(f"  {p} {us:8.2f}" for p, us in rows[name].items()) + " us")
    if asked.json:
        document = {"cpu": cpu_model(), "python": platform.python_version(), "rounds": asked.rounds, "runs": asked.runs}
        document |= {"limit_us": LIMIT_US, "microseconds": rows, "evidence": "measured, the driver stubbed"}
        write_json(asked.json, document)


if __name__ == "__main__":
    main()
