"""The GPU pipeline: frame or batch -> preprocess -> engine -> select_projection -> classifier, on one stream.

Buffers are allocated at construction. Each shape of call is captured once and replayed as one CUDA graph; the host
waits once, at the end. `GpuPipeline` belongs to one thread at a time; pipelines of several threads share the device
and the engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from puvae_rt._moved import renamed
from puvae_rt.contract import IMAGE, LOGITS, NOISE, PURIFIED, RMSE, SCORE, ImageContract, Score
from puvae_rt.device import ALIGNMENT, Device
from puvae_rt.device.arrays import DeviceArray, take
from puvae_rt.errors import InputError
from puvae_rt.gpu.buffers import Batch
from puvae_rt.gpu.compiled import CompiledEngine
from puvae_rt.gpu.engines import Engines
from puvae_rt.gpu.frames import Frame, Regions, check_host_frame, checked_regions, device_frame, host_frame
from puvae_rt.gpu.in_place import InPlace
from puvae_rt.gpu.loading import load_engines
from puvae_rt.gpu.plan import Plan
from puvae_rt.gpu.resources import Resources
from puvae_rt.gpu.results import PurifiedBatch
from puvae_rt.gpu.tensors import F32, INDEX
from puvae_rt.runtime.arguments import MODEL_PRIOR, Choice
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.preprocess import Bytes, Roi
from puvae_rt.runtime.results import Floats, Purified

GRAPHS = 8  # shapes of call kept captured


class GpuPipeline(Resources):
    """One stream's worth of purification.

    Args:
        engine: `image` (and `noise`) -> `candidates` (and `bias`, and `classes` where a shortlist chose them).
        device: where the engine was loaded.
        contract: the images' shape.
        classes: K.
        score: what the engine was built for.
        classifier: `image` -> `logits`, or None.
        graphs: how many shapes of call stay captured.
        free: called once the pipeline's own memory is freed.
        shortlist: how many classes of an image the engine decodes; None is all K.
    Raises:
        BundleError: the engines' tensors are not those of the model.
        DeviceError: the device has too little memory, or is lost. Every method that reaches the device raises it.
    """

    @classmethod
    def load(
        cls,
        source: str | Path,
        target: str | None = None,
        device: str | Device | None = None,
        classifier: bool | str | Path = True,
        graphs: int = GRAPHS,
        prior: str = MODEL_PRIOR,
        shortlist: int | None = None,
    ) -> GpuPipeline:
        """A pipeline of its own over a bundle, for callers whose images and frames are in device memory.

        Arguments and errors are those of `Purifier.load` for a GPU target; `graphs` as of the class.
        """
        loaded = load_engines(resolve(source, target, classifier, device, Choice(prior, shortlist)), device)
        engines = loaded.engines
        try:
            return cls(
                engines.purifier,
                loaded.device,
                engines.contract,
                engines.classes,
                engines.score,
                engines.classifier,
                graphs,
                loaded.free,
                engines.shortlist,
            )
        except BaseException:
            loaded.free()
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
        shortlist: int | None = None,
    ) -> None:
        super().__init__(Engines(engine, contract, classes, score, classifier, shortlist), device, graphs, free)
        self._in_place = InPlace()

    def frame(self, pixels: Bytes, regions: Sequence[Roi], layout: str) -> PurifiedBatch:
        """Regions of one frame on the host; only the part of it that they touch is copied.

        Args:
            pixels: uint8, as `kernels.launch.FORMATS` has it: [H,W,3], [H,W], or NV12's [H*3/2,W].
            regions: (x, y, width, height) in pixels; may stick out of the frame. One that does not touch it, is empty
                or has a side over `kernels.launch.MAX_REGION_SIDE` gives label -1.
            layout: "bgr8", "rgb8", "gray8" or "nv12".
        Raises:
            InputError: a frame of another shape or dtype, no regions or too many, or an engine that samples.
            ClosedError: after `close()`.
        """
        self._check_open()
        check_host_frame(pixels, layout)
        return self.checked_frame(pixels, checked_regions(regions), layout)

    def checked_frame(self, pixels: Bytes, regions: Regions, layout: str) -> PurifiedBatch:
        """As `frame`, for a frame and regions that were checked before."""
        batch = self._batch(len(regions))
        self._refuse_sampling()
        frame = self._upload(pixels, regions, batch, layout)
        self._run_frame(batch, frame)
        return self._collect(batch)

    def run(self, images: Floats, noise: Floats | None = None) -> PurifiedBatch:
        """A batch on the host.

        Args:
            images: float32 [N,C,H,W] in [0,1].
            noise: float32 [N,K,32], standard normal, when the engine samples; else None.
        Raises:
            InputError: more images than `max_batch`, or noise where none is wanted or the other way round.
            ClosedError: after `close()`.
        """
        self.stage(images, noise)
        self.plan_for_batch(len(images)).run()
        return self.collect(len(images))

    def stage(self, images: Floats, noise: Floats | None = None) -> None:
        """Puts a batch where `plan_for_batch` takes it from. Arguments and errors as of `run`."""
        batch = self._batch(len(images))
        if (noise is not None) != self.takes_noise:
            raise InputError(f"noise: got {'some' if noise is not None else 'none'}, expected it with sigma > 0 only")
        given = {IMAGE: images} if noise is None else {IMAGE: images, NOISE: noise}
        for name, array in given.items():
            if array.shape != batch.host_inputs[name].shape or array.dtype != F32:
                shape = batch.host_inputs[name].shape
                raise InputError(f"{name}: got {array.dtype} {array.shape}, expected float32 {shape}; convert it first")
        self._wait_for_pending()
        for name, array in given.items():
            batch.host_inputs[name][...] = array

    def plan_for_batch(self, count: int) -> Plan:
        """What `run` enqueues for so many images of the host."""
        batch = self._batch(count)
        return self._plan(("batch", count), lambda: self._program.batch(batch))

    def plan_for_frame(self, count: int, layout: str) -> Plan:
        """What `frame` and `enqueue_frame` run for so many regions of a frame in this layout."""
        return self._frame_plan(self._batch(count), layout)

    def collect(self, count: int) -> PurifiedBatch:
        """Waits, and copies the results out of the buffers that the next call overwrites.

        Args:
            count: images of the call.
        """
        return self._collect(self._batch(count))

    def _collect(self, batch: Batch) -> PurifiedBatch:
        self._synchronize()
        host = batch.host_outputs
        purified = Purified(*(host[name].copy() for name in (PURIFIED, INDEX, RMSE, SCORE)))
        replayed = self._last is not None and self._last.replayed
        return PurifiedBatch(purified, host[LOGITS].copy() if LOGITS in host else None, replayed)

    def forget(self) -> None:
        """Overwrites the results in every buffer: a call that does nothing shows then."""
        self._check_open()
        outbox = self._buffers.outbox
        self.device.fill(outbox.address, 0xFF, outbox.nbytes, self.stream)
        self._synchronize()
        outbox.host.array.fill(0xFF)

    def enqueue(self, images: Any) -> dict[str, DeviceArray]:
        """A batch in device memory, without waiting.

        It is read in place where TensorRT allows that: at an address that is a multiple of 256, as every allocation's
        is, and with no fewer images than the engine's smallest batch. Otherwise, and where addresses hardly ever come
        again, it is copied on the device: reuse arrays. The array is kept alive until it has been read.

        Args:
            images: float32 [N,C,H,W] in [0,1], contiguous, through `__cuda_array_interface__` or DLPack.
        Returns:
            `purified` [N,C,H,W], `index` [N], `rmse` [N,K], `score` [N,K], `flags` [N] (`kernels.launch.FLAG_*`) and,
            with a classifier, `logits` [N,K], in stream order, valid until the next call. A class that was not decoded
            has an `rmse` of NaN and an infinite `score`.
        Raises:
            InputError: not in this device's memory, another shape or dtype, or an engine that samples.
            ClosedError: after `close()`.
        """
        self._check_open()
        self._refuse_sampling()
        array = take(images, self.device, self.stream, "images")
        expected = self.contract.shape
        if array.shape[1:] != expected or array.dtype != F32 or not array.contiguous:
            raise InputError(f"images: got {array.dtype} {array.shape}, expected contiguous float32 (N, *{expected})")
        batch = self._batch(array.shape[0])
        self._device_plan(batch, array).run()
        return self._device_outputs(batch, array)

    def enqueue_frame(self, frame: Any, regions: Sequence[Roi], layout: str) -> dict[str, DeviceArray]:
        """Regions of one frame in device memory, without copying it; rows may be padded.

        Args:
            frame: uint8 through `__cuda_array_interface__` or DLPack, its shape as of `frame`; kept alive until it has
                been read.
            regions: as of `frame`.
            layout: as of `frame`.
        Returns:
            As `enqueue`.
        Raises:
            InputError: as `enqueue`, and what `frame` raises it for.
            ClosedError: after `close()`.
        """
        self._check_open()
        self._refuse_sampling()
        boxes = checked_regions(regions)
        batch = self._batch(len(boxes))
        array = take(frame, self.device, self.stream, "frame")
        found = device_frame(array, layout)
        self._wait_for_pending()
        batch.regions[...] = boxes
        self._run_frame(batch, found)
        return self._device_outputs(batch, array)

    def _upload(self, pixels: Bytes, regions: Regions, batch: Batch, layout: str) -> Frame:
        """The part of a frame that the regions touch, on its way to the device, and the regions in its pixels."""
        part, moved = host_frame(pixels, regions, layout)
        self._wait_for_pending()
        self._buffers.hold_frame(part.nbytes)
        frame = self._buffers.frame
        frame.view(0, part.shape, part.dtype)[...] = part
        frame.upload(part.nbytes, self.stream)
        batch.regions[...] = moved
        return Frame(frame.address, part.shape[0], part.shape[1], part.nbytes // part.shape[0], layout)

    def _run_frame(self, batch: Batch, frame: Frame) -> None:
        plan = self._frame_plan(batch, frame.layout)
        plan.run(self._program.frame_arguments(batch, frame))

    def _frame_plan(self, batch: Batch, layout: str) -> Plan:
        return self._plan(("frame", batch.count, layout), lambda: self._program.frame(batch, layout))

    def _device_plan(self, batch: Batch, array: DeviceArray) -> Plan:
        """What reads the array in place; or, behind a copy of it, what reads the pipeline's own images."""
        key = ("device", batch.count, array.address)
        readable = array.address % ALIGNMENT == 0 and batch.count == batch.padded
        if readable and self._in_place.worth(key, key in self._plans):
            return self._plan(key, lambda: self._program.on_device(batch, array.address))
        nbytes = batch.count * self.contract.pixels * F32.itemsize
        self.device.copy(batch.image, array.address, nbytes, self.stream)
        return self._plan(("own", batch.count), lambda: self._program.on_device(batch, batch.image))

    def _device_outputs(self, batch: Batch, given: DeviceArray) -> dict[str, DeviceArray]:
        """Results in device memory, of a call that reads `given`."""
        self._pending = True
        self._in_flight.keep(given)
        array = partial(DeviceArray, device=self.device, stream=self.stream, owner=self)
        return {
            field.name: array(batch.outputs[field.name], (batch.count, *field.shape), field.dtype, field.entry_bytes)
            for field in self._engines.outputs
        }

    def _refuse_sampling(self) -> None:
        if self.takes_noise:
            raise InputError("images: got no noise, expected it with sigma > 0; use purify(), or build with --sigma 0")


__getattr__ = renamed(__name__, {"Outcome": "PurifiedBatch"})
