"""Arrays of PyTorch and CuPy in and out of the pipeline where they are, and two pipelines on one GPU at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np

from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.runtime.results import Floats, Purified
from tests.cuda import torch_engine
from tests.gpu_day.measure import FRAME, samples, timed
from tests.gpu_day.stage import Day
from tests.gpu_day.stages.pipeline import opened

BATCH = 8
REGION = (280, 200, 80, 80)


def run(day: Day) -> None:
    """Of the first model; AssertionError where a result differs from that of arrays on the host."""
    model = day.models[0]
    with opened(day, model) as pipeline:
        images = samples(day, model)[0][: min(BATCH, pipeline.max_batch)]
        want = pipeline.run(images).purified.images
        _torch(day, pipeline, images, want)
        _cupy(day, pipeline, images, want)
    _two_streams(day, model, images)
    wrong = [name for name, found in day.found.items() if found.get("equal") is False]
    assert not wrong, f"not the results of the host's arrays: {', '.join(wrong)}"


def _torch(day: Day, pipeline: GpuPipeline, images: Floats, want: Floats) -> None:
    torch = torch_engine.torch
    batch, frame = (torch_engine.placed(array, pipeline.device) for array in (images, FRAME))
    equal = []
    for _ in range(3):  # plainly, captured, replayed
        outputs = pipeline.enqueue(batch)
        purified = torch.from_dlpack(outputs["purified"])
        equal.append(np.array_equal(purified.cpu().numpy(), want))
    found: dict[str, Any] = {"version": torch.__version__, "equal": all(equal)}
    found["in_place"] = purified.data_ptr() == outputs["purified"].address

    def whole(work: Any) -> None:
        work()
        pipeline.stream.synchronize()

    runs = day.effort.runs
    found["batch_ms"] = timed(lambda: whole(lambda: pipeline.enqueue(batch)), runs)
    found["frame_ms"] = timed(lambda: whole(lambda: pipeline.enqueue_frame(frame, [REGION], "bgr8")), runs)
    day.tell("torch", value=found)


def _cupy(day: Day, pipeline: GpuPipeline, images: Floats, want: Floats) -> None:
    if day.torch_device == "cpu" or find_spec("cupy") is None:
        day.tell("cupy", value={"skipped": "no CuPy on a GPU here"})
        return
    import cupy

    batch = cupy.asarray(images)
    equal = []
    for taken in (cupy.asarray, cupy.asarray, cupy.from_dlpack, cupy.from_dlpack):
        purified = taken(pipeline.enqueue(batch)["purified"])
        equal.append(np.array_equal(cupy.asnumpy(purified), want))
    day.tell("cupy", value={"version": cupy.__version__, "equal": all(equal)})


def _two_streams(day: Day, model: str, images: Floats) -> None:
    """Two pipelines, a thread each: every result is that of a pipeline alone."""
    rounds = 32 if day.device == "cuda" else 2
    with (
        opened(day, model, search=False) as first,
        torch_engine.pipeline(day.bundle(model), first.device, (1, first.max_batch)) as second,
        ThreadPoolExecutor(2) as pool,  # each pipeline belongs to one thread
    ):
        alone = first.run(images).purified
        repeated = [pool.submit(_repeated, each, images, rounds) for each in (first, second)]
        got = [purified for call in repeated for purified in call.result()]
    equal = all(np.array_equal(each.images, alone.images) for each in got)
    day.tell("two_streams", value={"calls": len(got), "equal": equal})


def _repeated(pipeline: GpuPipeline, images: Floats, rounds: int) -> list[Purified]:
    return [pipeline.run(images).purified for _ in range(rounds)]
