"""What a pipeline owns: a stream, the buffers, the plans, and what its work still uses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import TYPE_CHECKING

from puvae_rt.contract import ImageContract, Score
from puvae_rt.device import Device
from puvae_rt.errors import ClosedError, DeviceError, InputError
from puvae_rt.gpu.buffers import Batch, Buffers
from puvae_rt.gpu.engines import Engines
from puvae_rt.gpu.in_flight import InFlight
from puvae_rt.gpu.plan import Plan, Plans, Steps
from puvae_rt.gpu.steps import Program

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)


class Resources:
    """Base of the pipeline: made at construction, freed by `close`, used by one thread at a time.

    Args:
        engines: of the model.
        device: where they were loaded.
        graphs: how many shapes of call stay captured.
        free: called once all of this is freed.
    Attributes:
        device: the one given.
        stream: everything of this pipeline is in its order.
    """

    def __init__(self, engines: Engines, device: Device, graphs: int, free: Callable[[], None] | None = None) -> None:
        self.device, self._engines, self._free = device, engines, free
        self.stream = device.stream()
        self._buffers = Buffers(device, self.stream, engines)
        self._program = Program(device, self.stream, engines, self._buffers)
        self._in_flight = InFlight(device, self.stream)
        self._plans = Plans(graphs, self._in_flight.keep)
        self._last: Plan | None = None  # of the last call
        self._pending = self._closed = False  # pending: the host did not wait for the last call

    @property
    def contract(self) -> ImageContract:
        """The images' shape."""
        return self._engines.contract

    @property
    def classes(self) -> int:
        """K."""
        return self._engines.classes

    @property
    def shortlist(self) -> int | None:
        """How many classes of an image are decoded, those that the prior ranks first; None is all K."""
        return self._engines.shortlist

    @property
    def score(self) -> Score:
        """What the engine was built for."""
        return self._engines.score

    @property
    def takes_noise(self) -> bool:
        """Whether the engine samples: built with sigma > 0."""
        return self._engines.takes_noise

    @property
    def classifies(self) -> bool:
        """Whether labels are a classifier's."""
        return self._engines.classifier is not None

    @property
    def max_batch(self) -> int:
        """Largest batch per call: the smaller limit of the purifier's and the classifier's engine."""
        return self._engines.max_batch

    @property
    def obstacles(self) -> dict[str, str]:
        """Shape of call -> why it is enqueued step by step, not replayed as one graph; empty when all will be."""
        return self._plans.obstacles()

    def close(self) -> None:
        """Frees all of it, once; every later call raises ClosedError."""
        if self._closed:
            return
        self._closed = True
        try:
            self.stream.synchronize()
            for owned in (self._in_flight, self._plans, self._buffers, self.stream):
                owned.close()
        except DeviceError as error:  # the GPU is lost, and all of this with it
            logger.warning("closing a pipeline after a fault: %s", error)
        if self._free is not None:
            self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batch(self, count: int) -> Batch:
        """Where a call with so many images lies; InputError when the engines do not take as many."""
        self._check_open()
        if not 1 <= count <= self.max_batch:
            raise InputError(f"batch of {count}: this engine takes 1 to {self.max_batch}; split it")
        return self._buffers.batch(count)

    def _plan(self, key: tuple[Hashable, ...], make: Callable[[], Steps]) -> Plan:
        self.device.activate()  # TensorRT works on the thread's current GPU
        plan = self._plans.get(key, lambda: Plan(self.device, self.stream, " ".join(map(str, key)), make()))
        self._last = plan
        return plan

    def _wait_for_pending(self) -> None:
        """Page-locked memory may be written again only when the copies out of it are done."""
        if self._pending:
            self._synchronize()

    def _synchronize(self) -> None:
        self.stream.synchronize()
        self._pending = False
        self._in_flight.let_go()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the pipeline is closed; load it again")
