"""Where a call's time goes: parts by events on the stream, and the whole as callers see it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.plan import Plan
from puvae_rt.gpu.steps import CLASSIFIER, DOWNLOAD, ENGINE, UPLOAD
from puvae_rt.runtime.results import Floats

WARM_UP = 20  # calls before the first that counts: clocks rise, and the graph is captured
Percentiles = dict[str, float]  # p50, p99, p99_9, in milliseconds


@dataclass(frozen=True)
class Profile:
    """Milliseconds of calls with a batch in host memory and results back in it.

    Attributes:
        batch, runs: images a call, and calls.
        parts: of each step on the GPU, enqueued one by one with an event between them.
        gpu: of the whole on the GPU, as it runs in use: one graph where there is one.
        enqueue: of the host, until everything is on the stream.
        call: of the caller: staging, enqueueing, waiting, copying the results out.
        captured: whether `gpu` and `call` are those of a graph.
    """

    batch: int
    runs: int
    parts: Mapping[str, Percentiles]
    gpu: Percentiles
    enqueue: Percentiles
    call: Percentiles
    captured: bool

    @property
    def as_trtexec_counts(self) -> Mapping[str, float]:
        """trtexec's words for the medians.

        Its "GPU Compute Time" is one engine's enqueue from event to event, its "H2D/D2H Latency" the copies, its
        "Latency" their sum without any host time. What it leaves out: preprocessing, selection, the classifier, and
        the host.
        """
        medians = {name: part["p50"] for name, part in self.parts.items()}
        h2d, compute, d2h = (medians.get(name, 0.0) for name in (UPLOAD, ENGINE, DOWNLOAD))
        others = sum(ms for name, ms in medians.items() if name not in (UPLOAD, ENGINE, DOWNLOAD))
        return {
            "h2d_latency_ms": h2d,
            "gpu_compute_time_ms": compute,
            "d2h_latency_ms": d2h,
            "latency_ms": h2d + compute + d2h,
            "not_counted_kernels_ms": others,
            "not_counted_host_ms": max(self.call["p50"] - self.gpu["p50"], 0.0),
            "classifier_compute_time_ms": medians.get(CLASSIFIER, 0.0),
        }


def profile(pipeline: GpuPipeline, images: Floats, runs: int, noise: Floats | None = None) -> Profile:
    """Calls `pipeline` with one batch, `runs` times for the parts and as often for the whole."""
    for _ in range(WARM_UP):
        pipeline.run(images, noise)
    pipeline.stage(images, noise)
    plan = pipeline.plan_for_batch(len(images))
    parts = [_parts(pipeline, plan) for _ in range(runs)]
    gpu, enqueue, call = zip(*(_whole(pipeline, plan, images, noise) for _ in range(runs)), strict=True)
    return Profile(
        batch=len(images),
        runs=runs,
        parts={name: percentiles([part[name] for part in parts]) for name in parts[0]},
        gpu=percentiles(gpu),
        enqueue=percentiles(enqueue),
        call=percentiles(call),
        captured=plan.captured,
    )


def percentiles(milliseconds: Sequence[float]) -> Percentiles:
    """p50, p99 and p99.9 of measured milliseconds."""
    values = np.percentile(milliseconds, (50, 99, 99.9))
    return dict(zip(("p50", "p99", "p99_9"), map(float, values), strict=True))


def _parts(pipeline: GpuPipeline, plan: Plan) -> dict[str, float]:
    device, stream, work = pipeline.device, pipeline.stream, plan.steps.work
    marks = [device.event(timed=True) for _ in range(len(work) + 1)]
    marks[0].record(stream)
    for step, mark in zip(work, marks[1:], strict=True):
        step.enqueue()
        mark.record(stream)
    stream.synchronize()
    return {step.name: end.elapsed_ms(start) for step, start, end in zip(work, marks, marks[1:], strict=False)}


def _whole(pipeline: GpuPipeline, plan: Plan, images: Floats, noise: Floats | None) -> tuple[float, float, float]:
    """GPU, enqueue and call."""
    with pipeline.device.event(timed=True) as start, pipeline.device.event(timed=True) as end:
        begin = time.perf_counter()
        pipeline.stage(images, noise)
        start.record(pipeline.stream)
        before = time.perf_counter()
        plan.run()
        enqueued = time.perf_counter() - before
        end.record(pipeline.stream)
        pipeline.collect(len(images))
        call = time.perf_counter() - begin
        return end.elapsed_ms(start), enqueued * 1e3, call * 1e3
