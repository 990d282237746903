"""All memory of one pipeline, and where the parts of a batch lie in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from puvae_rt.contract import IMAGE
from puvae_rt.device import Device, Stream
from puvae_rt.gpu.engines import Engines
from puvae_rt.gpu.memory import Layout, Mirror
from puvae_rt.gpu.tensors import F32, I32

logger = logging.getLogger(__name__)

FRAME_BYTES = 1920 * 1080 * 3  # of the first staging buffer; a larger region makes it grow
REGION_BYTES = 4 * I32.itemsize


class Closable(Protocol):
    """What can be freed."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


@dataclass(frozen=True)
class Batch:
    """Where everything of a call with so many images lies; the same for every such call.

    Attributes:
        count: images of the call.
        padded: images that the engines run on: their smallest batch may be larger.
        inputs, outputs: device address of each tensor.
        host_inputs, host_outputs: the host's view of each, [count, ...].
        regions: the host's view of the regions, int32 [count,4].
        upload_bytes, download_bytes: of the one copy that takes all inputs, or all outputs.
    """

    count: int
    padded: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    host_inputs: Mapping[str, npt.NDArray[Any]]
    host_outputs: Mapping[str, npt.NDArray[Any]]
    regions: npt.NDArray[np.int32]
    upload_bytes: int
    download_bytes: int

    @property
    def image(self) -> int:
        """Device address of the images that were copied or cut out, not given."""
        return self.inputs[IMAGE]


class Buffers:
    """Allocated once, for the largest batch.

    Args:
        device: where.
        stream: fills what no call may find uninitialised.
        engines: whose tensors they hold.
    Raises:
        DeviceError: the device has no such memory; nothing stays allocated.
    """

    def __init__(self, device: Device, stream: Stream, engines: Engines) -> None:
        self._device, self._engines = device, engines
        self._batches: dict[int, Batch] = {}
        n, decoded = engines.max_batch, engines.decoded
        with ExitStack() as made:

            def own(buffer: C) -> C:
                made.callback(buffer.close)
                return buffer

            self.inbox = own(Mirror(device, Layout(engines.inputs, n).nbytes))
            self.outbox = own(Mirror(device, Layout(engines.outputs, n).nbytes))
            self.regions = own(Mirror(device, n * REGION_BYTES))
            candidates = n * decoded * engines.contract.pixels * engines.candidates_dtype.itemsize
            self.candidates = own(device.allocate(candidates))
            self.bias = own(device.allocate(n * decoded * F32.itemsize))
            self.classes = own(device.allocate(n * decoded * I32.itemsize))  # of the candidates
            self.arrivals = own(device.allocate(n * I32.itemsize))
            self.frame = Mirror(device, FRAME_BYTES)
            made.callback(lambda: self.frame.close())  # the one of then: it may have grown
            device.fill(self.arrivals.address, 0, n * I32.itemsize, stream)
            device.fill(self.inbox.address, 0, self.inbox.nbytes, stream)  # images beyond a call's are finite
            device.fill(self.outbox.address, 0, self.outbox.nbytes, stream)  # gaps are copied with the results
            stream.synchronize()
            self._owned = made.pop_all()

    def batch(self, count: int) -> Batch:
        """Where a call with `count` images finds and leaves everything."""
        if count not in self._batches:
            self._batches[count] = self._laid_out(count)
        return self._batches[count]

    def _laid_out(self, count: int) -> Batch:
        padded = max(count, self._engines.min_batch)
        inputs, outputs = Layout(self._engines.inputs, padded), Layout(self._engines.outputs, padded)
        return Batch(
            count=count,
            padded=padded,
            inputs=_addresses(self.inbox, inputs),
            outputs=_addresses(self.outbox, outputs),
            host_inputs=_views(self.inbox, inputs, count),
            host_outputs=_views(self.outbox, outputs, count),
            regions=self.regions.view(0, (count, 4), I32),
            upload_bytes=inputs.nbytes,
            download_bytes=outputs.nbytes,
        )

    def hold_frame(self, nbytes: int) -> None:
        """Makes the frame's buffer large enough; DeviceError leaves the one that there is."""
        if nbytes > self.frame.nbytes:
            larger = Mirror(self._device, nbytes)
            logger.info("frame buffer grows from %d to %d bytes", self.frame.nbytes, nbytes)
            self.frame, smaller = larger, self.frame
            smaller.close()

    def close(self) -> None:
        """Frees all of it; work that uses it must be done."""
        self._owned.close()


def _addresses(mirror: Mirror, layout: Layout) -> dict[str, int]:
    return {name: mirror.address + offset for name, offset in layout.offsets.items()}


def _views(mirror: Mirror, layout: Layout, count: int) -> dict[str, npt.NDArray[Any]]:
    offsets = layout.offsets
    return {f.name: mirror.view(offsets[f.name], (count, *f.shape), f.dtype) for f in layout.fields}
