"""What an emulated device hands out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from puvae_rt.device.emulated.memory import Block
from puvae_rt.device.emulated.schedule import Capture, Operation, Point, Queue
from puvae_rt.device.owned import Owner
from puvae_rt.device.protocol import Stream as AnyStream
from puvae_rt.device.status import failure
from puvae_rt.kernels import shim
from puvae_rt.kernels.launch import Launch

if TYPE_CHECKING:
    from puvae_rt.device.emulated.device import EmulatedDevice


class EmulatedMemory(Owner):
    """Device memory."""

    def __init__(self, device: EmulatedDevice, block: Block, call: str) -> None:
        self.address, self.nbytes = block.address, block.nbytes
        super().__init__(device.release, block.address, call)


class EmulatedHostMemory(Owner):
    """Page-locked or unified memory."""

    def __init__(self, device: EmulatedDevice, block: Block, call: str) -> None:
        assert block.kind is not None
        self.array, self.kind = block.array, block.kind
        self.address = block.address if block.reachable else 0
        super().__init__(device.release, block.address, call)


class EmulatedStream(Owner):
    """A queue."""

    def __init__(self, device: EmulatedDevice, queue: Queue, handle: int) -> None:
        self._device, self.queue, self.handle = device, queue, handle
        super().__init__(device.remove_stream, handle)

    def synchronize(self) -> None:
        self._device.refuse_on_captured(self.queue, "cuStreamSynchronize")
        self._device.count("synchronisations")
        self._device.schedule.drain([self.queue])

    def wait(self, event: Any) -> None:
        event.hold(self.queue)


class EmulatedEvent(Owner):
    """A counter of records."""

    def __init__(self, device: EmulatedDevice, timed: bool) -> None:
        self._device, self._timed, self._point = device, timed, Point()
        self._captured_in: Capture | None = None
        self._reached_at = 0.0
        super().__init__(lambda: None)

    def record(self, stream: AnyStream) -> None:
        self.record_in(queue_of(stream))

    def record_in(self, queue: Queue) -> None:
        """`record`, for a queue."""
        self._captured_in = queue.capture
        self._device.schedule.enqueue(queue, self._make_record)

    def _make_record(self) -> Operation:
        self._point.recorded += 1
        number = self._point.recorded

        def reach() -> None:
            self._point.reached = max(self._point.reached, number)
            self._reached_at = time.perf_counter()

        return Operation("cuEventRecord", reach)

    def hold(self, queue: Queue) -> None:
        """Blocks the queue until the most recent record; nothing if there is none."""
        if self._captured_in is not queue.capture:
            # CUDA lets another stream join the capture this way; nothing here needs it.
            raise failure("cuStreamWaitEvent", "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "recorded in another capture")
        point, number = self._point, self._point.recorded
        self._device.schedule.enqueue(queue, lambda: Operation("cuStreamWaitEvent", lambda: None, (point, number)))

    def synchronize(self) -> None:
        self._device.refuse_in_capture("cuEventSynchronize")
        self._device.count("synchronisations")
        with self._device.schedule.lock:
            number = self._point.recorded
            self._device.schedule.drain_until(lambda: self._point.reached >= number)
            self._device.schedule.check()

    def done(self) -> bool:
        self._device.refuse_in_capture("cuEventQuery")
        with self._device.schedule.lock:
            self._device.schedule.check()
            return self._point.reached >= self._point.recorded

    def elapsed_ms(self, start: Any) -> float:
        if not (self._timed and start._timed):
            raise failure("cuEventElapsedTime", "CUDA_ERROR_INVALID_HANDLE", "an event without timing")
        if any(event._point.reached < max(1, event._point.recorded) for event in (start, self)):
            raise failure("cuEventElapsedTime", "CUDA_ERROR_NOT_READY")
        return (self._reached_at - float(start._reached_at)) * 1e3


class EmulatedModule(Owner):
    """The shim's kernels."""

    def __init__(self, device: EmulatedDevice, library: shim.Shim) -> None:
        self._device, self._library = device, library
        super().__init__(lambda: None)

    def launch(self, launch: Launch, arguments: Sequence[Any], stream: AnyStream) -> None:
        self._device.count("launches")
        kernel = KernelNode(self._device, self._library, launch, tuple(arguments))
        self._device.schedule.enqueue(queue_of(stream), kernel)


class KernelNode:
    """A launch, in a stream or in a graph, where its arguments may be replaced."""

    def __init__(self, device: EmulatedDevice, library: shim.Shim, launch: Launch, arguments: tuple[Any, ...]) -> None:
        self.launch, self.arguments = launch, arguments
        self._device, self._library = device, library

    def __call__(self) -> Operation:
        arguments = self.arguments  # those of now: a later replacement concerns later replays
        return Operation(self.launch.entry, lambda: self._device.run_kernel(self._library, self.launch, arguments))


class EmulatedGraph(Owner):
    """Operations to be enqueued again."""

    def __init__(self, device: EmulatedDevice, operations: list[Callable[[], Operation]]) -> None:
        self._device, self._operations = device, operations
        super().__init__(lambda: None)

    def launch(self, stream: AnyStream) -> None:
        self.check_open()
        self._device.count("launches")
        for operation in self._operations:
            self._device.schedule.enqueue(queue_of(stream), operation)

    def set_arguments(self, launch: Launch, arguments: Sequence[Any]) -> None:
        self.check_open()
        nodes = [n for n in self._operations if isinstance(n, KernelNode) and n.launch.entry == launch.entry]
        if len(nodes) != 1 or nodes[0].launch != launch:
            found = ", ".join(str(node.launch) for node in nodes) or "none"
            raise failure(
                "cuGraphExecKernelNodeSetParams", "CUDA_ERROR_INVALID_VALUE", f"{launch} asked, {found} captured"
            )
        nodes[0].arguments = tuple(arguments)


def queue_of(stream: Any) -> Queue:
    """The queue of one of our streams; anything else is a mistake of the caller."""
    stream.check_open()
    queue: Queue = stream.queue
    return queue
