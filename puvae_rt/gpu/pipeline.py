"""The GPU pipeline: frame or batch -> preprocess -> engine -> select_projection -> classifier, on one stream.

Buffers are allocated at construction. Each shape of call is captured once and replayed as one CUDA graph; the host
waits once, at the end. `GpuPipeline` belongs to one thread at a time; pipelines of several threads share the device
and the engine.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from puvae_rt.contract import BIAS, CANDIDATES, IMAGE, LOGITS, NOISE, PURIFIED, RMSE, SCORE, ImageContract, Score
from puvae_rt.device import Device
from puvae_rt.device.arrays import DeviceArray, take
from puvae_rt.errors import ClosedError, DeviceError, InputError
from puvae_rt.gpu.compiled import CompiledEngine
from puvae_rt.gpu.frames import Frame, Regions, checked_regions, device_frame, host_frame
from puvae_rt.gpu.memory import ALIGNMENT, Layout, Mirror
from puvae_rt.gpu.plan import Kernel, Plan, Plans, Step, Steps
from puvae_rt.gpu.tensors import F32, FLAGS, I32, INDEX, check_signature, input_fields, output_fields
from puvae_rt.kernels.launch import PreprocessArgs, SelectProjectionArgs, preprocess, select_projection
from puvae_rt.runtime.preprocess import Bytes, Roi
from puvae_rt.runtime.results import NO_LABEL, Floats, Ints, Purified

logger = logging.getLogger(__name__)

GRAPHS = 8  # shapes of call kept captured
FRAME_BYTES = 1920 * 1080 * 3  # of the first staging buffer; a larger region makes it grow once
REGION_BYTES = 4 * I32.itemsize
# What a call is made of, in order.
UPLOAD, COPY, REGIONS, PREPROCESS, ENGINE = "upload", "copy", "regions", "preprocess", "engine"
SELECT, CLASSIFIER, DOWNLOAD = "select", "classifier", "download"


@dataclass(frozen=True)
class Outcome:
    """A purified batch on the host; `logits` [N,K] where the pipeline classifies."""

    purified: Purified
    logits: Floats | None

    @property
    def labels(self) -> Ints:
        """[N]: the classifier's, or the projection's class without one; -1 where no class had a finite distance."""
        if self.logits is None:
            return self.purified.projected
        chosen = np.asarray(self.logits.argmax(axis=1), np.int64)
        return np.where(self.purified.projected == NO_LABEL, NO_LABEL, chosen)


class GpuPipeline:
    """One stream's worth of purification.

    Args:
        engine: `image` (and `noise`) -> `candidates` (and `bias`).
        device: where the engine was loaded.
        contract: the images' shape.
        classes: K.
        score: what the engine was built for.
        classifier: `image` -> `logits`, or None.
        graphs: how many shapes of call stay captured.
        free: called once the pipeline's own memory is freed.
    """

    @classmethod
    def load(
        cls,
        source: str | Path,
        target: str | None = None,
        device: str | Device | None = None,
        classifier: bool | str | Path = True,
        graphs: int = GRAPHS,
    ) -> GpuPipeline:
        """A pipeline of its own over a bundle, for callers whose images and frames are in device memory.

        Arguments and errors are those of `Purifier.load` for a GPU target; `graphs` as below.
        """
        from puvae_rt.gpu.loading import prepare  # which needs this module
        from puvae_rt.runtime.bundle import resolve

        make, free = prepare(resolve(source, target, classifier, device), device)
        try:
            return make(graphs=graphs, free=free)
        except BaseException:
            free()
            raise

    def __init__(
        self,
        engine: CompiledEngine,
        device: Device,
        contract: ImageContract,
        classes: int,
        score: Score,
        classifier: CompiledEngine | None = None,
        graphs: int = GRAPHS,
        free: Callable[[], None] | None = None,
    ) -> None:
        check_signature(engine, contract, classes, score, classifier)
        self.device, self.contract, self.classes, self.score = device, contract, classes, score
        self._engine, self._classifier, self._plans = engine, classifier, Plans(graphs)
        self._free = free
        self.stream, self._kernels = device.stream(), device.kernels()
        n, signature = self.max_batch, engine.signature
        self._inputs = input_fields(contract, classes, self.takes_noise)
        self._outputs = output_fields(contract, classes, classifier is not None)
        self._inbox = Mirror(device, Layout(self._inputs, n).nbytes)
        self._outbox = Mirror(device, Layout(self._outputs, n).nbytes)
        self._regions, self._frame = Mirror(device, n * REGION_BYTES), Mirror(device, FRAME_BYTES)
        candidates = n * classes * contract.pixels * signature.dtype(CANDIDATES).itemsize
        self._candidates, self._bias = device.allocate(candidates), device.allocate(n * classes * F32.itemsize)
        self._arrivals = device.allocate(n * 4)
        device.fill(self._arrivals.address, 0, n * 4, self.stream)
        device.fill(self._inbox.address, 0, self._inbox.nbytes, self.stream)  # images beyond a call's are finite
        device.fill(self._outbox.address, 0, self._outbox.nbytes, self.stream)  # gaps are copied with the results
        self.stream.synchronize()
        self._pending, self._closed = False, False

    @property
    def takes_noise(self) -> bool:
        return NOISE in self._engine.signature.inputs

    @property
    def classifies(self) -> bool:
        return self._classifier is not None

    @property
    def max_batch(self) -> int:
        """Of one call; the classifier's limit counts too."""
        engines = (self._engine, self._classifier) if self._classifier else (self._engine,)
        return min(engine.signature.max_batch for engine in engines)

    def run(self, images: Floats, noise: Floats | None = None) -> Outcome:
        """A batch on the host: float32 [N,C,H,W] in [0,1], and float32 [N,K,32] when the engine samples."""
        self.stage(images, noise)
        self.plan_for_batch(len(images)).run()
        return self.collect(len(images))

    def stage(self, images: Floats, noise: Floats | None = None) -> None:
        """Puts a batch where `plan_for_batch` takes it from."""
        if (noise is not None) != self.takes_noise:
            raise InputError(f"noise: got {'some' if noise is not None else 'none'}, expected it with sigma > 0 only")
        count = self._count(len(images))
        self._reuse()
        self._inbox.view(self._input_offset(IMAGE, count), images.shape, F32)[...] = images
        if noise is not None:
            self._inbox.view(self._input_offset(NOISE, count), noise.shape, F32)[...] = noise

    def forget(self) -> None:
        """Overwrites the results in every buffer: a call that does nothing shows then."""
        self.device.fill(self._outbox.address, 0xFF, self._outbox.nbytes, self._open_stream())
        self.stream.synchronize()
        self._outbox.host.array.fill(0xFF)

    def plan_for_batch(self, count: int) -> Plan:
        """What `run` enqueues for so many images of the host."""
        return self._plan(("batch", count), functools.partial(self._batch_steps, count))

    def frame(self, pixels: Bytes, regions: Sequence[Roi], layout: str) -> Outcome:
        """Regions of one frame on the host; only the part of it that they touch is copied.

        Args:
            pixels: uint8, as `kernels.launch.FORMATS` has it: [H,W,3], [H,W], or NV12's [H*3/2,W].
            regions: (x, y, width, height) in pixels; may stick out of the frame. One that does not touch it, is empty
                or has a side over `kernels.launch.MAX_REGION_SIDE` gives label -1.
            layout: "bgr8", "rgb8", "gray8" or "nv12".
        """
        boxes = self._regions_of(regions)
        part, moved = host_frame(pixels, boxes, layout)
        self._reuse()
        self._stage(part)
        frame = Frame(self._frame.address, part.shape[0], part.shape[1], part.strides[0], layout)
        self._run_frame(frame, moved)
        return self.collect(len(boxes.boxes))

    def enqueue(self, images: Any) -> dict[str, DeviceArray]:
        """A batch in device memory, without waiting.

        It is read in place where TensorRT allows that: at an address that is a multiple of 256, as every allocation's
        is, and with no fewer images than the engine's smallest batch. Otherwise it is copied on the device.

        Args:
            images: float32 [N,C,H,W] in [0,1], contiguous, through `__cuda_array_interface__` or DLPack. Arrays that
                come again at the same address share a graph: reuse them.
        Returns:
            `purified` [N,C,H,W], `index` [N], `rmse` [N,K], `score` [N,K], `flags` [N] and, with a classifier,
            `logits` [N,K], in stream order, valid until the next call.
        """
        self._refuse_sampling()
        array = take(images, self.device, self._open_stream(), "images")
        expected = self.contract.shape
        if array.shape[1:] != expected or array.dtype != F32 or not array.contiguous:
            raise InputError(f"images: got {array.dtype} {array.shape}, expected contiguous float32 (N, *{expected})")
        count = self._count(array.shape[0])
        in_place = array.address % ALIGNMENT == 0 and count == self._padded(count)
        make = functools.partial(self._compute_steps if in_place else self._copied_steps, count, array.address)
        self._plan(("device", count, array.address), make).run()
        self._pending = True
        return self._device_outputs(count)

    def enqueue_frame(self, frame: Any, regions: Sequence[Roi], layout: str) -> dict[str, DeviceArray]:
        """Regions of one frame in device memory, without copying it; rows may be padded. Otherwise as `enqueue`."""
        boxes = self._regions_of(regions)
        found = device_frame(take(frame, self.device, self._open_stream(), "frame"), layout)
        self._reuse()
        self._run_frame(found, boxes)
        self._pending = True
        return self._device_outputs(len(boxes.boxes))

    def close(self) -> None:
        """Frees the buffers and graphs; the engine and the device only of a pipeline made by `load`."""
        if self._closed:
            return
        self._closed = True
        buffers = (self._inbox, self._outbox, self._regions, self._frame, self._candidates, self._bias, self._arrivals)
        try:
            self.stream.synchronize()
            for owned in (self._plans, *buffers, self.stream):
                owned.close()
        except DeviceError as error:  # the GPU is lost, and all of this with it
            logger.warning("closing a pipeline after a fault: %s", error)
        if self._free is not None:
            self._free()

    def __enter__(self) -> GpuPipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # One frame: region -> preprocess -> engine -> select_projection -> classifier -> results.

    def _run_frame(self, frame: Frame, regions: Regions) -> None:
        count = self._count(len(regions.boxes))
        self._regions.view(0, (count, 4), I32)[...] = regions.boxes
        plan = self._plan(("frame", count, frame.layout), functools.partial(self._frame_steps, count, frame.layout))
        plan.run(self._preprocess_arguments(count, frame).values())

    def _frame_steps(self, count: int, layout: str) -> Steps:
        c, h, w = self.contract.shape
        upload = functools.partial(self._regions.upload, count * REGION_BYTES, self.stream)
        cut = Kernel(self._kernels, preprocess(count, layout, c, h, w, F32), self.stream)
        computed = self._compute_steps(count, self._own_image(count))
        work: dict[str, Step] = {REGIONS: upload, PREPROCESS: cut, **computed.work, DOWNLOAD: self._download(count)}
        return Steps(work, computed.obstacle, cut)

    def _batch_steps(self, count: int) -> Steps:
        nbytes = Layout(self._inputs, self._padded(count)).nbytes
        upload = functools.partial(self._inbox.upload, nbytes, self.stream)
        computed = self._compute_steps(count, self._own_image(count))
        return Steps({UPLOAD: upload, **computed.work, DOWNLOAD: self._download(count)}, computed.obstacle)

    def _copied_steps(self, count: int, image: int) -> Steps:
        """For images where the engine cannot read them."""
        own, nbytes = self._own_image(count), count * self.contract.pixels * F32.itemsize
        copy = functools.partial(self.device.copy, own, image, nbytes, self.stream)
        computed = self._compute_steps(count, own)
        return Steps({COPY: copy, **computed.work}, computed.obstacle)

    def _compute_steps(self, count: int, image: int) -> Steps:
        """Engine, selection, classifier."""
        padded, outputs = self._padded(count), self._output_addresses(count)
        addresses = {IMAGE: image, CANDIDATES: self._candidates.address, BIAS: self._bias.address}
        if self.takes_noise:
            addresses[NOISE] = self._inbox.address + self._input_offset(NOISE, count)
        select = Kernel(self._kernels, self._select_launch(count), self.stream)
        select.arguments = self._select_arguments(image, outputs).values()
        executions = {ENGINE: self._engine.execution(padded, addresses, self.stream)}
        if self._classifier is not None:
            tensors = {IMAGE: outputs[PURIFIED], LOGITS: outputs[LOGITS]}
            executions[CLASSIFIER] = self._classifier.execution(padded, tensors, self.stream)
        enqueue: dict[str, Step] = {n: functools.partial(e.enqueue, self.stream) for n, e in executions.items()}
        obstacles = [execution.why_not_capturable(self.stream) for execution in executions.values()]
        work: dict[str, Step] = {ENGINE: enqueue.pop(ENGINE), SELECT: select, **enqueue}
        return Steps(work, next(filter(None, obstacles), None))

    def _download(self, count: int) -> Step:
        nbytes = Layout(self._outputs, self._padded(count)).nbytes
        return functools.partial(self._outbox.download, nbytes, self.stream)

    def _select_launch(self, count: int) -> Any:
        candidates = self._engine.signature.dtype(CANDIDATES)
        return select_projection(count, self.classes, self.contract.pixels, F32, candidates, F32)

    def _select_arguments(self, image: int, outputs: dict[str, int]) -> SelectProjectionArgs:
        return SelectProjectionArgs(
            input=image,
            candidates=self._candidates.address,
            bias=self._bias.address if self.score.kl_weight > 0 else 0,
            tau=self.score.tau,
            purified=outputs[PURIFIED],
            index=outputs[INDEX],
            rmse=outputs[RMSE],
            score=outputs[SCORE],
            flags=outputs[FLAGS],
            arrivals=self._arrivals.address,
            classes=self.classes,
            size=self.contract.pixels,
        )

    def _preprocess_arguments(self, count: int, frame: Frame) -> PreprocessArgs:
        return PreprocessArgs(
            pixels=frame.address,
            chroma=frame.chroma,
            pitch=frame.pitch,
            chroma_pitch=frame.pitch if frame.chroma else 0,
            frame_width=frame.width,
            frame_height=frame.height,
            regions=self._regions.address,
            image=self._own_image(count),
            phases=0,
            height=self.contract.height,
            width=self.contract.width,
        )

    def _plan(self, key: Hashable, make: Callable[[], Steps]) -> Plan:
        self.device.activate()  # TensorRT works on the thread's current GPU
        return self._plans.get(key, lambda: Plan(self.device, self.stream, f"pipeline {key}", make()))

    def _stage(self, part: Bytes) -> None:
        if part.nbytes > self._frame.nbytes:
            logger.info("frame buffer grows from %d to %d bytes", self._frame.nbytes, part.nbytes)
            self._frame.close()
            self._frame = Mirror(self.device, part.nbytes)
        self._frame.view(0, part.shape, np.uint8)[...] = part
        self._frame.upload(part.nbytes, self.stream)

    def collect(self, count: int) -> Outcome:
        """Waits, and copies the results out of the buffers that the next call overwrites."""
        self.stream.synchronize()
        self._pending = False
        offsets = Layout(self._outputs, self._padded(count)).offsets
        arrays = {
            field.name: self._outbox.view(offsets[field.name], (count, *field.shape), field.dtype).copy()
            for field in self._outputs
            if field.name != FLAGS
        }
        purified = Purified(arrays[PURIFIED], arrays[INDEX], arrays[RMSE], arrays[SCORE])
        return Outcome(purified, arrays.get(LOGITS))

    def _device_outputs(self, count: int) -> dict[str, DeviceArray]:
        addresses = self._output_addresses(count)
        return {
            f.name: DeviceArray(
                addresses[f.name], (count, *f.shape), f.dtype, f.entry_bytes, self.device, self.stream, self
            )
            for f in self._outputs
        }

    def _output_addresses(self, count: int) -> dict[str, int]:
        offsets = Layout(self._outputs, self._padded(count)).offsets
        return {name: self._outbox.address + offset for name, offset in offsets.items()}

    def _own_image(self, count: int) -> int:
        """Address of the images that were copied or cut out, not given."""
        return self._inbox.address + self._input_offset(IMAGE, count)

    def _input_offset(self, name: str, count: int) -> int:
        return Layout(self._inputs, self._padded(count)).offsets[name]

    def _padded(self, count: int) -> int:
        """The engine's smallest batch may be larger than the call's."""
        smallest = self._classifier.signature.min_batch if self._classifier is not None else 1
        return max(count, self._engine.signature.min_batch, smallest)

    def _count(self, count: int) -> int:
        if not 1 <= count <= self.max_batch:
            raise InputError(f"batch of {count}: this engine takes 1 to {self.max_batch}; split it")
        return count

    def _regions_of(self, regions: Sequence[Roi]) -> Regions:
        """Of one frame, all that one call takes."""
        self._refuse_sampling()
        self._count(len(regions))
        return checked_regions(regions)

    def _refuse_sampling(self) -> None:
        if self.takes_noise:
            raise InputError("images: got no noise, expected it with sigma > 0; use purify(), or build with --sigma 0")

    def _reuse(self) -> None:
        """Page-locked memory may be written again only when the copies out of it are done."""
        if self._pending:
            self._open_stream().synchronize()
            self._pending = False

    def _open_stream(self) -> Any:
        if self._closed:
            raise ClosedError("the pipeline is closed; load it again")
        return self.stream
