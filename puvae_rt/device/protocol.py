"""What the pipeline needs of a GPU. Implemented by cuda_python.py, pycuda.py and emulated/; nothing else is used.

Every object frees itself when it is closed, leaves its `with` block, or is collected. Every call raises DeviceError
when CUDA refuses it. Addresses are device addresses. Streams order work; the host waits only in `synchronize`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from puvae_rt.kernels.launch import Launch

if TYPE_CHECKING:
    from typing_extensions import Self

Bytes = npt.NDArray[np.uint8]
# Bytes: what cuMemAlloc's addresses are multiples of, and what TensorRT asks of a tensor's; our kernels want less.
ALIGNMENT = 256


class HostKind(Enum):
    """Host memory that the GPU can reach."""

    PINNED = "pinned"  # page-locked: copies from and to it are asynchronous
    MAPPED = "mapped"  # page-locked and read in place by the GPU, without a copy
    UNIFIED = "unified"  # one address for both sides, migrated or coherent


@dataclass(frozen=True)
class Properties:
    """One GPU."""

    name: str
    compute_capability: tuple[int, int]
    integrated: bool  # shares the host's memory: Jetson, DRIVE
    maps_host_memory: bool
    concurrent_managed_access: bool  # the host may touch unified memory while kernels run
    multiprocessors: int
    total_memory: int  # bytes
    driver_version: tuple[int, int]  # of CUDA that the driver supports

    @property
    def host_kind(self) -> HostKind:
        """Where the host and the GPU share their memory, a copy between them moves bytes for nothing."""
        if not self.integrated:
            return HostKind.PINNED
        if self.concurrent_managed_access:
            return HostKind.UNIFIED
        return HostKind.MAPPED if self.maps_host_memory else HostKind.PINNED


class Owned(Protocol):
    """A resource of the device."""

    def close(self) -> None:
        """Frees it; twice is allowed."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Memory(Owned, Protocol):
    """Device memory."""

    @property
    def address(self) -> int:
        """Of its first byte, on the device; a multiple of ALIGNMENT."""

    @property
    def nbytes(self) -> int:
        """Its size."""


class HostMemory(Owned, Protocol):
    """Page-locked or unified host memory."""

    @property
    def array(self) -> Bytes:
        """The host's view, uint8 [nbytes]."""

    @property
    def address(self) -> int:
        """The device's view of the same bytes; 0 for PINNED, which has to be copied."""

    @property
    def kind(self) -> HostKind:
        """What the host and the device share of it."""


class Stream(Owned, Protocol):
    """Work in order."""

    @property
    def handle(self) -> int:
        """cudaStream_t as an integer, for TensorRT and for arrays handed to other libraries."""

    def synchronize(self) -> None:
        """Blocks the host until all work enqueued so far is done."""

    def wait(self, event: Event) -> None:
        """Later work of this stream starts after `event`'s most recent record."""


class Event(Owned, Protocol):
    """A point in a stream."""

    def record(self, stream: Stream) -> None:
        """Marks the end of the stream's work so far."""

    def synchronize(self) -> None:
        """Blocks the host until the most recent record is reached."""

    def done(self) -> bool:
        """Whether the most recent record is reached, without waiting; True when there is none."""

    def elapsed_ms(self, start: Event) -> float:
        """Milliseconds since `start`; both timed and done."""


class Module(Owned, Protocol):
    """Loaded kernels."""

    def launch(self, launch: Launch, arguments: Sequence[Any], stream: Stream) -> None:
        """Enqueues a kernel; `arguments` are ctypes objects in the kernel's order."""


class Graph(Owned, Protocol):
    """Captured work, replayed with the addresses that it was captured with."""

    def launch(self, stream: Stream) -> None: ...
    def set_arguments(self, launch: Launch, arguments: Sequence[Any]) -> None:
        """Replaces the arguments of the one captured launch of `launch.entry`; the geometry must not change."""


class Device(Owned, Protocol):
    """One GPU in this process. May be used from several threads; one stream belongs to one thread at a time."""

    @property
    def layer(self) -> str:
        """ "cuda", "pycuda" or "emulated"."""

    @property
    def ordinal(self) -> int:
        """The GPU's number in this process, as DLPack names it beside `dlpack_type`."""

    @property
    def properties(self) -> Properties:
        """What kind of GPU it is."""

    @property
    def captures(self) -> bool:
        """Whether this layer has CUDA graphs."""

    @property
    def dlpack_type(self) -> int:
        """DLDeviceType of its memory."""

    @property
    def evidence(self) -> str:
        """What a number got here is worth: "measured" or "emulated"."""

    def activate(self) -> None:
        """Makes this GPU the calling thread's: for libraries that work on the current one, as TensorRT does.

        Calls of this protocol need no such thing: each finds its GPU by itself.
        """

    def free_memory(self) -> int:
        """Bytes."""

    def allocate(self, nbytes: int) -> Memory:
        """Device memory, uninitialised; DeviceError CUDA_ERROR_OUT_OF_MEMORY when there is not enough."""

    def allocate_host(self, nbytes: int, kind: HostKind | None = None) -> HostMemory:
        """Page-locked memory; `kind` None is the platform's own (`Properties.host_kind`)."""

    def stream(self) -> Stream:
        """A new stream, in order by itself and with no other."""

    def event(self, timed: bool = False) -> Event:
        """A new event; `timed` ones can be asked for the time between them, the others cost less."""

    def kernels(self) -> Module:
        """The package's kernels, compiled for this device. One module for all callers: do not close it."""

    def to_device(self, destination: int, source: npt.NDArray[Any], stream: Stream) -> None:
        """Copies host to device; asynchronous from page-locked memory only."""

    def to_host(self, destination: npt.NDArray[Any], source: int, stream: Stream) -> None:
        """Copies device to host; asynchronous to page-locked memory only."""

    def copy(self, destination: int, source: int, nbytes: int, stream: Stream) -> None:
        """Copies device to device."""

    def fill(self, address: int, value: int, nbytes: int, stream: Stream) -> None:
        """Sets every byte to `value`."""

    def gpu_of(self, address: int) -> int:
        """The number of the GPU whose memory an address is in.

        DeviceError CUDA_ERROR_INVALID_VALUE when it is no memory that CUDA knows.
        """

    def order(self, first: int, then: int) -> None:
        """Work enqueued from now on to stream `then` starts after all work so far of stream `first`.

        Both are handles, of ours or of another library in this process; 1 and 2 are the legacy and the per-thread
        default stream.
        """

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """A graph of what `enqueue` puts on `stream`; nothing runs."""
