"""What is measured of a pipeline, whatever engine is in it: its values, its times, its memory. No PyTorch here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from export.on_device import _graph_equals_plain
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.profile import percentiles, profile
from puvae_rt.gpu.profile_frames import profile_frames
from puvae_rt.runtime.results import Floats, Ints
from tests.gpu_day.stage import Day, Skipped

FRAME = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def samples(day: Day, model: str) -> tuple[Floats, Ints, Ints]:
    """Images [N,C,H,W] in [0,1], and what the CPU's FP32 engine made of them: classes chosen, and labels."""
    path = day.work / "samples" / f"{model}.npz"
    if not path.is_file():
        raise Skipped(f"no {path}: the stage bundles has to run first")
    with np.load(path) as file:
        images, projected, labels = file["images"], file["projected"], file["labels"]
    count = day.effort.images
    return images[:count].astype(np.float32) / 255, projected[:count], labels[:count]


def filled(images: Floats, count: int) -> Floats:
    """So many images, from the first again where there are fewer."""
    return np.ascontiguousarray(images[np.arange(count) % len(images)])


def values(day: Day, model: str, pipeline: GpuPipeline) -> None:
    """How often class and label are the CPU's, and whether a graph gives what plain calls give, bit for bit."""
    images, projected, labels = samples(day, model)
    step = pipeline.max_batch
    batches = [pipeline.run(images[i : i + step]) for i in range(0, len(images), step)]
    chosen = np.concatenate([batch.purified.projected for batch in batches])
    seen = np.concatenate([batch.labels for batch in batches])
    shares = {"projected": float((chosen == projected).mean()), "labels": float((seen == labels).mean())}
    day.tell(model, "agreement", value={"images": len(images), **shares})
    day.tell(model, "graph_equals_plain", value=bool(_graph_equals_plain(pipeline, images)))


def latency(day: Day, model: str, pipeline: GpuPipeline) -> None:
    """Batches and frames of every size, in the host's memory and in the device's."""
    effort = day.effort
    images = filled(samples(day, model)[0], max(effort.batches))
    for size in effort.batches:
        runs = effort.runs if size < max(effort.batches) else effort.large_runs
        day.tell(model, "batch", str(size), value=asdict(profile(pipeline, images[:size], runs)))
        day.tell(model, "frame", str(size), value=profile_frames(pipeline, runs, size))
    day.tell(model, "obstacles", value=pipeline.obstacles)


def memory(day: Day, model: str, pipeline: GpuPipeline) -> None:
    """What is lost over many frames, each with another region; AssertionError where the device lost any."""

    def frame(i: int) -> None:
        pipeline.frame(FRAME, [(i % 300, i % 300, 100 + i % 80, 100)], "bgr8")

    for i in range(5):
        frame(i)
    before, resident = pipeline.device.free_memory(), _resident()
    for i in range(day.effort.frames):
        frame(i)
    lost = before - pipeline.device.free_memory()
    found = {"frames": day.effort.frames, "lost_bytes": lost, "host_lost_bytes": _resident() - resident}
    day.tell(model, "memory", value=found)
    assert lost <= 0, f"{model}: {lost} bytes of the device are gone after {day.effort.frames} frames"


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def timed(call: Callable[[], object], runs: int, warm_up: int = 5) -> dict[str, float]:
    """p50, p99 and p99.9 of a call, in milliseconds."""
    taken = []
    for _ in range(min(warm_up, runs) + runs):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    return percentiles(taken[-runs:])
