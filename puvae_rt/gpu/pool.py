"""The GPU pipeline as an engine of the `Purifier`: callable from several threads, one pipeline for each at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from puvae_rt.errors import ClosedError
from puvae_rt.gpu.pipeline import GpuPipeline, Outcome
from puvae_rt.runtime.preprocess import Bytes, Roi
from puvae_rt.runtime.results import Floats, Purified


class GpuEngine:
    """Purifies on a device.

    Args:
        make: a new pipeline on the shared device and engine.
        free: called once, when the last pipeline is closed.
    """

    def __init__(self, make: Callable[[], GpuPipeline], free: Callable[[], None]) -> None:
        self._make, self._free, self._lock = make, free, threading.Lock()
        self._idle, self._busy, self._closed = [make()], 0, False
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

    def run_frame(self, frame: Bytes, roi: Roi) -> Outcome:
        """One region of a checked frame, BGR or gray, cut out and resized on the device."""
        with self.pipeline() as pipeline:
            return pipeline.frame(frame, [roi], "gray8" if frame.ndim == 2 else "bgr8")

    @contextmanager
    def pipeline(self) -> Iterator[GpuPipeline]:
        """A pipeline of one's own while the block lasts."""
        pipeline = self._take()
        try:
            yield pipeline
        finally:
            self._give_back(pipeline)

    def close(self) -> None:
        """Calls under way finish; the device's memory is freed with the last of them."""
        with self._lock:
            if self._closed:
                return
            self._closed, idle, self._idle = True, self._idle, []
        for pipeline in idle:
            pipeline.close()
        if not self._busy:
            self._free()

    def _take(self) -> GpuPipeline:
        with self._lock:
            if self._closed:
                raise ClosedError("the engine is closed; load it again")
            self._busy += 1
            if self._idle:
                return self._idle.pop()
        try:
            return self._make()
        except BaseException:
            with self._lock:
                self._busy -= 1
            raise

    def _give_back(self, pipeline: GpuPipeline) -> None:
        with self._lock:
            self._busy -= 1
            if not self._closed:
                self._idle.append(pipeline)
                return
            last = not self._busy
        pipeline.close()
        if last:
            self._free()
