"""The device protocol on the CPU."""

from __future__ import annotations

import copy
import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from puvae_rt import contract
from puvae_rt.device.emulated.counts import Counts
from puvae_rt.device.emulated.memory import DEVICE, AddressSpace, Block
from puvae_rt.device.emulated.objects import (
    EmulatedEvent,
    EmulatedGraph,
    EmulatedHostMemory,
    EmulatedMemory,
    EmulatedModule,
    EmulatedStream,
    queue_of,
)
from puvae_rt.device.emulated.schedule import Capture, Operation, Queue, Schedule
from puvae_rt.device.owned import Owner
from puvae_rt.device.protocol import Bytes, Device, HostKind, Properties
from puvae_rt.device.protocol import Stream as AnyStream
from puvae_rt.device.status import failure
from puvae_rt.kernels import shim
from puvae_rt.kernels.launch import Launch

EMULATED = Properties(
    name="emulated GPU",
    compute_capability=(8, 9),
    integrated=False,
    maps_host_memory=True,
    concurrent_managed_access=False,
    multiprocessors=24,
    total_memory=4 << 30,
    driver_version=(13, 0),
)
_UNSUPPORTED = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
DEFAULT_STREAMS = (1, 2)  # the legacy and the per-thread one: what other libraries' arrays may name


class EmulatedDevice(Owner):
    """The device protocol on the CPU.

    Args:
        seed: of the order in which streams, blocks and threads run. No result may depend on it.
        properties: what it pretends to be.
    """

    layer, captures, evidence = "emulated", True, contract.EMULATED
    dlpack_type, ordinal = 1, 0  # kDLCPU: its memory is the host's

    def __init__(self, seed: int = 0, properties: Properties = EMULATED) -> None:
        self.properties, self.counts = properties, Counts()
        self._schedule, self._space = Schedule(seed), AddressSpace(properties.total_memory)
        self._seeds = np.random.default_rng(seed)
        self._capturing: dict[int, Capture] = {}  # thread -> its capture
        self._streams = {handle: self._schedule.add() for handle in DEFAULT_STREAMS}  # handle -> queue
        self._handles = 0x1000
        self._here = threading.local()
        super().__init__(self._schedule.drain_until, lambda: False)

    def activate(self) -> None:
        self._here.active = True

    @property
    def active(self) -> bool:
        """Whether this thread has activated it: what stands in for TensorRT wants to know."""
        return getattr(self._here, "active", False)

    def snapshot(self) -> Counts:
        """The counts of now."""
        with self._schedule.lock:
            return copy.copy(self.counts)

    def free_memory(self) -> int:
        return self.properties.total_memory - self._space.used

    def allocate(self, nbytes: int) -> EmulatedMemory:
        return EmulatedMemory(self, self._allocate(nbytes, DEVICE, "cuMemAlloc"), "cuMemFree")

    def allocate_host(self, nbytes: int, kind: HostKind | None = None) -> EmulatedHostMemory:
        kind = kind or self.properties.host_kind
        managed = kind is HostKind.UNIFIED
        block = self._allocate(nbytes, kind, "cuMemAllocManaged" if managed else "cuMemHostAlloc")
        return EmulatedHostMemory(self, block, "cuMemFree" if managed else "cuMemFreeHost")

    def stream(self) -> EmulatedStream:
        with self._schedule.lock:
            self.refuse_in_capture("cuStreamCreate")
            queue, self._handles = self._schedule.add(), self._handles + 1
            self._streams[self._handles] = queue
            return EmulatedStream(self, queue, self._handles)

    def event(self, timed: bool = False) -> EmulatedEvent:
        return EmulatedEvent(self, timed)

    def kernels(self) -> EmulatedModule:
        return EmulatedModule(self, shim.load())

    def to_device(self, destination: int, source: npt.NDArray[Any], stream: AnyStream) -> None:
        call, data = "cuMemcpyHtoDAsync", _flat_bytes(source)
        origin = self._host_view(data, call)
        if origin is None:
            self._pageable(call, stream)
            staged = data.copy()  # as CUDA does: the caller may reuse the array at once
        self._transfer(stream, call, self._device_view(destination, data.nbytes, call), origin or (lambda: staged))

    def to_host(self, destination: npt.NDArray[Any], source: int, stream: AnyStream) -> None:
        call, data = "cuMemcpyDtoHAsync", _flat_bytes(destination)
        target, origin = self._host_view(data, call), self._device_view(source, data.nbytes, call)
        if target is not None:
            self._transfer(stream, call, target, origin)
        else:
            self._pageable(call, stream)
            self._transfer(stream, call, lambda: data, origin)
            self._schedule.drain([queue_of(stream)])

    def copy(self, destination: int, source: int, nbytes: int, stream: AnyStream) -> None:
        call = "cuMemcpyDtoDAsync"
        self._transfer(
            stream, call, self._device_view(destination, nbytes, call), self._device_view(source, nbytes, call)
        )

    def fill(self, address: int, value: int, nbytes: int, stream: AnyStream) -> None:
        call = "cuMemsetD8Async"
        target = self._device_view(address, nbytes, call)
        self.enqueue(stream, call, lambda: target().fill(value))

    def gpu_of(self, address: int) -> int:
        self._view(address, 1, "cuPointerGetAttribute")
        return self.ordinal

    def order(self, first: int, then: int) -> None:
        before, after = self._queue(first), self._queue(then)
        with self.event() as event:
            event.record_in(before)
            event.hold(after)

    def _queue(self, handle: int) -> Queue:
        if handle not in self._streams:
            raise failure("cuEventRecord", "CUDA_ERROR_INVALID_HANDLE", f"{handle:#x} is no live stream")
        return self._streams[handle]

    def capture(self, stream: AnyStream, enqueue: Callable[[], None]) -> EmulatedGraph:
        self.begin_capture(queue_of(stream))
        try:
            enqueue()
        except BaseException:
            self.abandon_capture(queue_of(stream))
            raise
        return self.end_capture(queue_of(stream))

    def begin_capture(self, queue: Queue) -> None:
        """Collects what the queue is given from now on."""
        thread = threading.get_ident()
        with self._schedule.lock:
            self.refuse_in_capture("cuStreamBeginCapture")
            if queue.capture is not None:
                raise failure("cuStreamBeginCapture", "CUDA_ERROR_ILLEGAL_STATE", "the stream is captured already")
            queue.capture = self._capturing[thread] = Capture(thread)

    def abandon_capture(self, queue: Queue) -> Capture:
        """Ends a capture without a graph."""
        with self._schedule.lock:
            capture, queue.capture = queue.capture, None
            if capture is None:
                raise failure("cuStreamEndCapture", "CUDA_ERROR_ILLEGAL_STATE", "the stream is not captured")
            del self._capturing[capture.thread]
            return capture

    def end_capture(self, queue: Queue) -> EmulatedGraph:
        """A graph of what was collected; DeviceError when something that CUDA forbids was done meanwhile."""
        capture = self.abandon_capture(queue)
        if capture.broken is not None:
            raise failure("cuStreamEndCapture", "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", capture.broken)
        self.count("captures")
        return EmulatedGraph(self, capture.operations)

    # For what stands in for TensorRT: an operation of a stream, and memory by address.

    def enqueue(self, stream: AnyStream, name: str, action: Callable[[], None]) -> None:
        """Puts host code in a stream's order."""
        self._schedule.enqueue(queue_of(stream), lambda: Operation(name, action))

    def array(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A view of device memory, to be taken when an operation runs."""
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        return self._view(address, nbytes, "engine").view(kind).reshape(shape)

    # For the other classes of this module.

    @property
    def schedule(self) -> Schedule:
        """All queues."""
        return self._schedule

    def count(self, what: str) -> None:
        """Adds one to a count."""
        with self._schedule.lock:
            setattr(self.counts, what, getattr(self.counts, what) + 1)

    def refuse_in_capture(self, call: str) -> None:
        """What CUDA forbids to a thread that captures (thread-local mode); it breaks the capture, too."""
        capture = self._capturing.get(threading.get_ident())
        if capture is not None:
            capture.broken = capture.broken or f"{call} during capture"
            raise failure(call, _UNSUPPORTED, "called while this thread captures")

    def refuse_on_captured(self, queue: Queue, call: str) -> None:
        """As `refuse_in_capture`, and for any thread when the queue itself is captured."""
        self.refuse_in_capture(call)
        if queue.capture is not None:
            queue.capture.broken = queue.capture.broken or f"{call} on the captured stream"
            raise failure(call, _UNSUPPORTED, "the stream is being captured")

    def release(self, address: int, call: str) -> None:
        """Freeing waits for all work, as cuMemFree does."""
        with self._schedule.lock:
            self.refuse_in_capture(call)
            self.counts.frees += 1
            self._schedule.drain_until(lambda: False)
            self._space.free(address, call, check=not self._schedule.lost)

    def remove_stream(self, handle: int) -> None:
        """Of a stream that is destroyed."""
        with self._schedule.lock:
            self._schedule.remove(self._streams.pop(handle))

    def run_kernel(self, library: shim.Shim, launch: Launch, arguments: Sequence[Any]) -> None:
        """Runs a kernel of the shim now, its blocks in a random order; DeviceError when it wrote past an array."""
        blocks = [self._argument_block(launch.entry, a.value) for a in arguments if isinstance(a, ctypes.c_void_p)]
        library.run(launch, arguments, int(self._seeds.integers(1 << 62)))
        for block in blocks:
            if block is not None and not block.intact():
                raise failure(
                    launch.entry, "CUDA_ERROR_ILLEGAL_ADDRESS", f"wrote past an array of {block.nbytes} bytes"
                )

    def _argument_block(self, entry: str, address: int | None) -> Block | None:
        if not address:
            return None
        block = self._space.find(address)
        if block is None or not block.reachable:
            raise failure(entry, "CUDA_ERROR_ILLEGAL_ADDRESS", f"argument {address:#x} is no device memory")
        return block

    def _allocate(self, nbytes: int, kind: HostKind | None, call: str) -> Block:
        with self._schedule.lock:
            self._schedule.check()
            self.refuse_in_capture(call)
            block = self._space.allocate(nbytes, kind, call)
            self.counts.allocations += 1
            return block

    def _view(self, address: int, nbytes: int, call: str) -> Bytes:
        with self._schedule.lock:
            return self._space.view(address, nbytes, call)

    def _device_view(self, address: int, nbytes: int, call: str) -> Callable[[], Bytes]:
        """The bytes, looked up now, when a wrong address is the caller's fault, and again whenever the work runs."""
        self._view(address, nbytes, call)
        return lambda: self._view(address, nbytes, call)

    def _host_view(self, data: Bytes, call: str) -> Callable[[], Bytes] | None:
        """The same for page-locked memory; None when `data` is pageable."""
        address, nbytes = data.ctypes.data, data.nbytes
        if not self._space.page_locked(address, nbytes):
            return None
        return lambda: self._space.locked_view(address, nbytes, call)

    def _pageable(self, call: str, stream: AnyStream) -> None:
        self.refuse_on_captured(queue_of(stream), call)
        self.count("pageable_copies")

    def _transfer(self, stream: AnyStream, call: str, target: Callable[[], Bytes], origin: Callable[[], Bytes]) -> None:
        self.count("copies")
        self.enqueue(stream, call, lambda: np.copyto(target(), origin()))


def _flat_bytes(array: npt.NDArray[Any]) -> Bytes:
    if not array.flags.c_contiguous:
        raise failure("cuMemcpyAsync", "CUDA_ERROR_INVALID_VALUE", "the host array is not contiguous")
    return array.reshape(-1).view(np.uint8)


def _conforms(device: EmulatedDevice) -> Device:
    """Holds the type checker to it."""
    return device
