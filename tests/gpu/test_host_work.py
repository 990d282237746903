"""How much the host does for a GPU frame: function calls are counted, not seconds, with the driver left out.

A replayed frame is a copy, a graph launch and a wait; all else is checks, regions, arguments and the result. Work that
creeps back in (evaluating type hints at each frame was four fifths of it once) shows here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from puvae_rt.device import Device, emulated
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.tensorrt import library
from tests.device import driver
from tests.device.conftest import cuda_over
from tests.gpu import fake_tensorrt, host_work
from tests.gpu.bundles import save_gpu_bundle
from tests.gpu.test_pipeline import images

DRIVER = (emulated.__path__[0], driver.__file__)  # what stands for CUDA's driver
MOST_LOOPS = 1.6  # of host_work.fixed_loop, in the time of a frame
MOST_CALLS_A_FRAME = 190
MOST_CALLS_A_BATCH = 90


@pytest.fixture
def pipeline(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GpuPipeline]:
    """Through the CUDA layer and TensorRT's wrapper as they are."""
    monkeypatch.setattr(library, "load", lambda target: fake_tensorrt.FakeTensorrt(device, lambda: True))
    bundle = save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True)
    with GpuPipeline.load(bundle, device=cuda_over(monkeypatch, device)) as pipeline:
        yield pipeline


def calls_of(work: Callable[[], Any]) -> int:
    """Functions that `work` calls, Python's and C's; what the driver's stand-in calls is not counted, it is."""
    count, inside = 0, 0

    def seen(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count, inside
        driver = frame.f_code.co_filename.startswith(DRIVER)
        if event == "call":
            count += not inside
            inside += driver
        elif event == "return":
            inside -= driver
        elif event == "c_call":
            count += not inside

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_frame_is_little_work_for_the_host(pipeline: GpuPipeline) -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    regions = [(i, i, 80 + i, 80) for i in range(10)]
    for i in range(3):  # warm up, capture, replay
        pipeline.frame(frame, [regions[i]], "bgr8")
    counts = [calls_of(lambda region=region: pipeline.frame(frame, [region], "bgr8")) for region in regions[3:]]
    assert max(counts) <= MOST_CALLS_A_FRAME, counts


def test_a_frame_takes_no_longer_than_a_loop_of_the_interpreter() -> None:
    """`host_work.LIMIT_US` in the machine's own measure: the loop takes some 25 us where a frame may take 40."""
    with host_work.pipeline() as pipeline:
        taken = host_work.quietest(pipeline, rounds=30, runs=100)
    p50 = {name: float(np.median(each)) for name, each in taken.items()}
    assert max(p50.values()) <= MOST_LOOPS * p50[host_work.LOOP], p50


def test_a_batch_is_little_work_for_the_host(pipeline: GpuPipeline) -> None:
    batch = images(4)
    for _ in range(3):
        pipeline.run(batch)
    assert calls_of(lambda: pipeline.run(batch)) <= MOST_CALLS_A_BATCH


def test_the_count_sees_what_is_done_and_leaves_the_driver_out(pipeline: GpuPipeline) -> None:
    assert calls_of(lambda: [abs(i) for i in range(50)]) >= 50
    assert calls_of(lambda: pipeline.device.fill(pipeline._buffers.bias.address, 0, 4, pipeline.stream)) <= 20
