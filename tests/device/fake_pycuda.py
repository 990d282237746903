"""pycuda.driver over the emulated device. Its names are held to PyCUDA's own by tests/contracts/test_pycuda.py."""

from __future__ import annotations

import ctypes
import struct
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
from cuda.bindings import driver as real

from puvae_rt.device import HostKind
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import DeviceError
from puvae_rt.kernels.launch import Launch
from tests.device.driver import ARGUMENTS, ATTRIBUTES, get_args, get_type_hints

# cuGetErrorString's texts.
TEXTS = {
    "CUDA_ERROR_OUT_OF_MEMORY": "out of memory",
    "CUDA_ERROR_INVALID_VALUE": "invalid argument",
    "CUDA_ERROR_INVALID_DEVICE": "invalid device ordinal",
    "CUDA_ERROR_NOT_READY": "device not ready",
    "CUDA_ERROR_LAUNCH_FAILED": "unspecified launch failure",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "an illegal memory access was encountered",
}


class FakePycuda:
    class Error(Exception):
        pass

    class event_flags:  # noqa: N801
        DEFAULT, DISABLE_TIMING = 0, 2

    class host_alloc_flags:  # noqa: N801
        PORTABLE, DEVICEMAP = 1, 2

    class mem_attach_flags:  # noqa: N801
        GLOBAL = 1

    device_attribute = SimpleNamespace(**{name: name for name in ATTRIBUTES})

    def __init__(self, device: EmulatedDevice) -> None:
        self._device, self.contexts = device, threading.local()
        fake = self

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                assert flags == 1, "CU_STREAM_NON_BLOCKING"
                self._stream = fake._try(device.stream)
                self.handle = self._stream.handle

            def synchronize(self) -> None:
                fake._try(self._stream.synchronize)

            def wait_for_event(self, event: Any) -> None:
                fake._try(self._stream.wait, event._event)

        class Event:
            def __init__(self, flags: int = 0) -> None:
                self._event = device.event(not flags & FakePycuda.event_flags.DISABLE_TIMING)

            def record(self, stream: Any = None) -> None:
                fake._try(self._event.record, stream._stream)

            def synchronize(self) -> None:
                fake._try(self._event.synchronize)

            def query(self) -> bool:
                return fake._try(self._event.done)

            def time_since(self, event: Any) -> float:
                return fake._try(self._event.elapsed_ms, event._event)

        class Device:
            def __init__(self, ordinal: int) -> None:
                if ordinal != 0:
                    raise fake.Error("cuDeviceGet failed: invalid device ordinal")

            def retain_primary_context(self) -> Any:
                stack = fake.contexts.__dict__.setdefault("stack", [])
                return SimpleNamespace(push=lambda: stack.append(self), pop=lambda: stack.pop(), detach=lambda: None)

            def name(self) -> str:
                return device.properties.name

            def compute_capability(self) -> tuple[int, int]:
                return device.properties.compute_capability

            def total_memory(self) -> int:
                return device.properties.total_memory

            def get_attribute(self, name: str) -> int:
                return int(ATTRIBUTES[name](device.properties))

        self.Stream, self.Event, self.Device = Stream, Event, Device

    def _try(self, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except DeviceError as error:
            raise self.Error(f"{error.call} failed: {TEXTS[error.code]}") from error

    def init(self, flags: int = 0) -> None: ...

    def get_driver_version(self) -> int:
        return 13000

    def mem_get_info(self) -> tuple[int, int]:
        return self._device.free_memory(), self._device.properties.total_memory

    def mem_alloc(self, nbytes: int) -> Any:
        memory = self._try(self._device.allocate, nbytes)
        return Allocation(memory)

    def pagelocked_empty(self, shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        mapped = mem_flags & self.host_alloc_flags.DEVICEMAP
        return self._host(shape, HostKind.MAPPED if mapped else HostKind.PINNED)

    def managed_empty(self, shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        return self._host(shape, HostKind.UNIFIED)

    def _host(self, nbytes: int, kind: HostKind) -> Any:
        memory = self._try(self._device.allocate_host, nbytes, kind)
        return HostArray(memory)

    def memcpy_htod_async(self, dest: int, src: Any, stream: Any = None) -> None:
        memoryview(src).cast("B")  # PyCUDA takes contiguous buffers only
        self._try(self._device.to_device, dest, np.asarray(src), stream._stream)

    def memcpy_dtoh_async(self, dest: Any, src: int, stream: Any = None) -> None:
        memoryview(dest).cast("B")
        self._try(self._device.to_host, np.asarray(dest), src, stream._stream)

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: Any = None) -> None:
        self._try(self._device.copy, dest, src, size, stream._stream)

    def memset_d8_async(self, dest: int, data: int, size: int, stream: Any = None) -> None:
        self._try(self._device.fill, dest, data, size, stream._stream)

    def module_from_buffer(self, image: bytes) -> Any:
        assert image == b"image"
        return SimpleNamespace(get_function=lambda name: Function(self._device.kernels(), name))


class FakeLibcuda:
    """libcuda.so.1, called as ctypes calls it."""

    def __init__(self, device: EmulatedDevice) -> None:
        def ask(result: int, attribute: int, address: int) -> int:
            assert attribute == real.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
            try:
                ctypes.c_int.from_address(result).value = device.gpu_of(address)
            except DeviceError as error:
                return int(getattr(real.CUresult, error.code))
            return 0

        self.cuPointerGetAttribute = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64)(ask)


class Allocation:
    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def __int__(self) -> int:
        return self._memory.address

    def free(self) -> None:
        self._memory.close()


class HostArray(np.ndarray):
    """An array whose base knows the device's address, as PyCUDA's."""

    def __new__(cls, memory: Any) -> HostArray:
        array = memory.array.view(cls)
        array._memory = memory
        return array

    def __array_finalize__(self, parent: Any) -> None:
        self._memory = getattr(parent, "_memory", None)

    @property
    def base(self) -> Any:
        return SimpleNamespace(get_device_pointer=lambda: self._memory.address)


class Function:
    def __init__(self, module: Any, entry: str) -> None:
        self._module, self._entry = module, entry

    def prepare(self, arg_types: list[str]) -> None:
        self._format = "".join(arg_types)

    def prepared_async_call(self, grid: Any, block: Any, stream: Any, *args: Any, shared_size: int = 0) -> None:
        struct.pack(self._format, *args)  # as PyCUDA does: fails on a wrong type
        hints = get_type_hints(next(c for k, c in ARGUMENTS.items() if self._entry.startswith(k)), include_extras=True)
        arguments = tuple(get_args(hint)[1](value) for hint, value in zip(hints.values(), args, strict=True))
        self._module.launch(Launch(self._entry, grid, block, shared_size), arguments, stream._stream)
