"""How long a camera frame takes from memory to its label, as callers see it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from puvae_rt.device.arrays import DeviceArray
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.profile import WARM_UP, Percentiles, percentiles
from puvae_rt.runtime.preprocess import Roi

FRAME = (480, 640, 3)  # BGR
HOST_FRAME, DEVICE_FRAME = "host_frame", "device_frame"


def profile_frames(pipeline: GpuPipeline, runs: int, count: int = 1) -> dict[str, Percentiles]:
    """Milliseconds of regions of a frame, others each time; nothing for an engine that samples.

    Args:
        pipeline: where they run.
        runs: frames that are timed.
        count: regions of a frame.
    Returns:
        `host_frame`: a frame in the host's memory, the result in it. `device_frame`: a frame in device memory, the
        result in device memory and done.
    """
    if pipeline.takes_noise:
        return {}
    device, stream = pipeline.device, pipeline.stream
    frame = np.random.default_rng(0).integers(0, 256, FRAME, np.uint8)
    with device.allocate(frame.nbytes) as memory:
        device.to_device(memory.address, frame, stream)
        stream.synchronize()
        there = DeviceArray(memory.address, FRAME, frame.dtype, frame.nbytes // FRAME[0], device)

        def on_device(regions: list[Roi]) -> None:
            pipeline.enqueue_frame(there, regions, "bgr8")
            stream.synchronize()

        times = {
            HOST_FRAME: _timed(lambda regions: pipeline.frame(frame, regions, "bgr8"), runs, count),
            DEVICE_FRAME: _timed(on_device, runs, count),
        }
    return {name: percentiles(milliseconds) for name, milliseconds in times.items()}


def _timed(call: Callable[[list[Roi]], object], runs: int, count: int) -> list[float]:
    taken = []
    for i in range(min(WARM_UP, runs) + runs):
        regions = [(j % 400, j % 300, 80 + j % 60, 80 + j % 60) for j in range(i, i + count)]
        start = time.perf_counter()
        call(regions)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken[-runs:]
