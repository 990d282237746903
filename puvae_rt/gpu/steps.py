"""What each kind of call puts on the stream, in order, each step by its name."""

from __future__ import annotations

from functools import partial
from typing import Any

from puvae_rt.contract import BIAS, CANDIDATES, CLASSES, IMAGE, LOGITS, NOISE, PURIFIED, RMSE, SCORE
from puvae_rt.device import Device, Stream
from puvae_rt.gpu.buffers import REGION_BYTES, Batch, Buffers
from puvae_rt.gpu.compiled import Execution
from puvae_rt.gpu.engines import Engines
from puvae_rt.gpu.frames import Frame
from puvae_rt.gpu.plan import Kernel, Step, Steps
from puvae_rt.gpu.tensors import F32, FLAGS, INDEX
from puvae_rt.kernels.launch import PreprocessArgs, SelectProjectionArgs, preprocess, select_projection

UPLOAD, REGIONS, PREPROCESS, ENGINE = "upload", "regions", "preprocess", "engine"
SELECT, CLASSIFIER, DOWNLOAD = "select", "classifier", "download"
REMEMBERED = 64  # frames, by address and shape, whose arguments are kept


class Program:
    """Makes the steps of a call.

    Args:
        device: where they run.
        stream: that they are put on.
        engines: of the model.
        buffers: that they read and write.
    """

    def __init__(self, device: Device, stream: Stream, engines: Engines, buffers: Buffers) -> None:
        self._stream, self._engines, self._buffers = stream, engines, buffers
        self._kernels = device.kernels()
        self._of_frames: dict[tuple[int, Frame], tuple[Any, ...]] = {}

    def batch(self, batch: Batch) -> Steps:
        """Images of the host, results on the host."""
        upload = Step(UPLOAD, partial(self._buffers.inbox.upload, batch.upload_bytes, self._stream))
        executions = self._executions(batch, batch.image)
        return Steps((upload, *self._compute(batch, batch.image, executions), self._download(batch)), executions)

    def frame(self, batch: Batch, layout: str) -> Steps:
        """Regions of a frame in device memory, results on the host; the frame and the regions vary."""
        nbytes = batch.count * REGION_BYTES
        regions = Step(REGIONS, partial(self._buffers.regions.upload, nbytes, self._stream))
        cut = Kernel(self._kernels, preprocess(batch.count, layout, *self._engines.contract.shape, F32), self._stream)
        executions = self._executions(batch, batch.image)
        compute = self._compute(batch, batch.image, executions)
        return Steps((regions, Step(PREPROCESS, cut), *compute, self._download(batch)), executions, cut)

    def on_device(self, batch: Batch, image: int) -> Steps:
        """Images at a device address, results in device memory."""
        executions = self._executions(batch, image)
        return Steps(tuple(self._compute(batch, image, executions)), executions)

    def frame_arguments(self, batch: Batch, frame: Frame) -> tuple[Any, ...]:
        """Of the preprocess kernel, for this frame and the regions uploaded: the same object for a frame of before."""
        key = batch.count, frame
        if key not in self._of_frames:
            if len(self._of_frames) >= REMEMBERED:
                self._of_frames.clear()
            self._of_frames[key] = self._frame_arguments(batch, frame).values()
        return self._of_frames[key]

    def _frame_arguments(self, batch: Batch, frame: Frame) -> PreprocessArgs:
        return PreprocessArgs(
            pixels=frame.address,
            chroma=frame.chroma,
            pitch=frame.pitch,
            chroma_pitch=frame.pitch if frame.chroma else 0,
            frame_width=frame.width,
            frame_height=frame.height,
            regions=self._buffers.regions.address,
            image=batch.image,
            phases=0,
            height=self._engines.contract.height,
            width=self._engines.contract.width,
        )

    def _executions(self, batch: Batch, image: int) -> dict[str, Execution]:
        engines, buffers = self._engines, self._buffers
        tensors = {IMAGE: image, CANDIDATES: buffers.candidates.address}
        tensors |= {BIAS: buffers.bias.address, CLASSES: buffers.classes.address}
        if engines.takes_noise:
            tensors[NOISE] = batch.inputs[NOISE]
        executions = {ENGINE: engines.purifier.execution(batch.padded, tensors, self._stream)}
        if engines.classifier is not None:
            tensors = {IMAGE: batch.outputs[PURIFIED], LOGITS: batch.outputs[LOGITS]}
            executions[CLASSIFIER] = engines.classifier.execution(batch.padded, tensors, self._stream)
        return executions

    def _compute(self, batch: Batch, image: int, executions: dict[str, Execution]) -> list[Step]:
        """Engine, selection, classifier."""
        engines = self._engines
        sizes, dtypes = (batch.count, engines.classes, engines.contract.pixels), (F32, engines.candidates_dtype, F32)
        select = Kernel(self._kernels, select_projection(*sizes, *dtypes, engines.shortlist), self._stream)
        select.arguments = self._select_arguments(batch, image).values()
        steps = {name: Step(name, partial(run.enqueue, self._stream)) for name, run in executions.items()}
        return [steps.pop(ENGINE), Step(SELECT, select), *steps.values()]

    def _download(self, batch: Batch) -> Step:
        return Step(DOWNLOAD, partial(self._buffers.outbox.download, batch.download_bytes, self._stream))

    def _select_arguments(self, batch: Batch, image: int) -> SelectProjectionArgs:
        engines, buffers, outputs = self._engines, self._buffers, batch.outputs
        return SelectProjectionArgs(
            input=image,
            candidates=buffers.candidates.address,
            bias=buffers.bias.address if engines.score.has_bias else 0,
            classes=0 if engines.shortlist is None else buffers.classes.address,
            tau=engines.score.tau,
            purified=outputs[PURIFIED],
            index=outputs[INDEX],
            rmse=outputs[RMSE],
            score=outputs[SCORE],
            flags=outputs[FLAGS],
            arrivals=buffers.arrivals.address,
            candidate_count=engines.decoded,
            class_count=engines.classes,
            size=engines.contract.pixels,
        )
