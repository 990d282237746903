"""The GPU pipeline as an engine of the `Purifier`: callable from several threads, one pipeline for each at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from puvae_rt.device import Device
from puvae_rt.errors import ClosedError
from puvae_rt.gpu.loading import load_engines
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.results import PurifiedBatch
from puvae_rt.runtime.bundle import Source
from puvae_rt.runtime.preprocess import Bytes, Roi
from puvae_rt.runtime.results import Floats, Purified


def open_gpu_engine(source: Source, device: str | Device | None = None, threads: int | None = None) -> GpuEngine:
    """The engine of a verified source for a GPU target. Arguments and errors as of `load_engines`."""
    loaded = load_engines(source, device, threads)
    e = loaded.engines
    model = e.contract, e.classes, e.score, e.classifier
    make = partial(GpuPipeline, e.purifier, loaded.device, *model, shortlist=e.shortlist)
    try:
        return GpuEngine(make, loaded.free)
    except BaseException:
        loaded.free()
        raise


class GpuEngine:
    """Purifies on a device.

    Args:
        make: a new pipeline on the shared device and engine.
        free: called once, when the last pipeline is closed.
    """

    def __init__(self, make: Callable[[], GpuPipeline], free: Callable[[], None]) -> None:
        self._make, self._free, self._lock = make, free, threading.Lock()
        self._idle, self._alive, self._closed, self._freed = [make()], 1, False, False
        self.takes_noise, self.classifies = self._idle[0].takes_noise, self._idle[0].classifies

    def run(self, images: Floats, noise: Floats | None = None) -> Purified:
        """float32 [N,C,H,W] in [0,1], and float32 [N,K,32] standard normal when it samples."""
        with self.pipeline() as pipeline:
            step = pipeline.max_batch
            parts = [
                pipeline.run(images[i : i + step], None if noise is None else noise[i : i + step]).purified
                for i in range(0, len(images), step)
            ]
        return Purified.join(parts)

    def run_frame(self, frame: Bytes, roi: Roi) -> PurifiedBatch:
        """One region of a frame, cut out and resized on the device.

        Args:
            frame: uint8 BGR [H,W,3] or gray [H,W], and
            roi: (x, y, width, height) in its pixels, both as `checked_frame` gave them: they are not checked again.
        """
        with self.pipeline() as pipeline:
            return pipeline.checked_frame(frame, [roi], "gray8" if frame.ndim == 2 else "bgr8")

    @property
    def obstacles(self) -> dict[str, str]:
        """As `GpuPipeline.obstacles`, of the pipelines that are not at work now."""
        with self._lock:
            idle = list(self._idle)
        return {shape: reason for pipeline in idle for shape, reason in pipeline.obstacles.items()}

    @contextmanager
    def pipeline(self) -> Iterator[GpuPipeline]:
        """A pipeline of one's own while the block lasts."""
        pipeline = self._take()
        try:
            yield pipeline
        finally:
            self._give_back(pipeline)

    def close(self) -> None:
        """Calls under way finish; the device's memory is freed with the last of them. Twice is allowed."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for pipeline in idle:
            pipeline.close()
        self._end(len(idle))

    def _take(self) -> GpuPipeline:
        with self._lock:
            if self._closed:
                raise ClosedError("the engine is closed; load it again")
            if self._idle:
                return self._idle.pop()
            self._alive += 1
        try:
            return self._make()
        except BaseException:
            self._end(1)
            raise

    def _give_back(self, pipeline: GpuPipeline) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(pipeline)
                return
        pipeline.close()
        self._end(1)

    def _end(self, pipelines: int) -> None:
        """So many pipelines are gone. Whoever takes the last one of a closed engine away frees what they shared."""
        with self._lock:
            self._alive -= pipelines
            last = self._closed and not self._alive and not self._freed
            self._freed = self._freed or last
        if last:
            self._free()
