"""The device protocol on PyCUDA, which boards in the field have. It knows no CUDA graphs and no foreign streams."""

from __future__ import annotations

import ctypes
import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from puvae_rt.contract import MEASURED
from puvae_rt.device import libcuda
from puvae_rt.device.binaries import kernel_image
from puvae_rt.device.owned import Owner
from puvae_rt.device.protocol import Bytes, Device, Graph, HostKind, Properties, Stream
from puvae_rt.device.status import failure
from puvae_rt.errors import TargetUnavailableError
from puvae_rt.kernels.launch import Launch

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which PyCUDA gives no name
_FORMATS = {
    ctypes.c_void_p: "P",
    ctypes.c_int32: "i",
    ctypes.c_float: "f",
}
# PyCUDA tells a status by cuGetErrorString's text only; what is not here goes by the name of PyCUDA's exception.
_CODES = {
    "out of memory": "CUDA_ERROR_OUT_OF_MEMORY",
    "invalid argument": "CUDA_ERROR_INVALID_VALUE",
    "invalid device ordinal": "CUDA_ERROR_INVALID_DEVICE",
    "no CUDA-capable device is detected": "CUDA_ERROR_NO_DEVICE",
    "no kernel image is available for execution on the device": "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "device kernel image is invalid": "CUDA_ERROR_INVALID_IMAGE",
    "named symbol not found": "CUDA_ERROR_NOT_FOUND",
    "an illegal memory access was encountered": "CUDA_ERROR_ILLEGAL_ADDRESS",
    "unspecified launch failure": "CUDA_ERROR_LAUNCH_FAILED",
    "too many resources requested for launch": "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
    "device not ready": "CUDA_ERROR_NOT_READY",
}


def load_api() -> Any:
    """pycuda.driver; TargetUnavailableError where it, or the driver that it links to, is missing."""
    try:
        import pycuda.driver as driver
    except ImportError as error:
        raise TargetUnavailableError(
            f"PyCUDA is missing or finds no NVIDIA driver ({error}); install it with `pip install pycuda` on a machine "
            "with CUDA's toolkit, or use device='cuda'"
        ) from error
    return driver


_here = threading.local()  # `driver`: reference to the one whose context lies on top of this thread's stack


class Driver:
    """PyCUDA in the primary context of one GPU, its exceptions turned into DeviceError."""

    def __init__(self, ordinal: int) -> None:
        self.api = load_api()
        self.guard("cuInit", self.api.init)
        self.device = self.guard("cuDeviceGet", self.api.Device, ordinal)
        self._context = self.guard("cuDevicePrimaryCtxRetain", self.device.retain_primary_context)
        weakref.finalize(self, self._context.detach)

    def __call__(self, name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """`call` in this device's context; `name` is the driver's function behind it."""
        self.make_current()
        return self.guard(name, call, *arguments, **options)

    def make_current(self) -> None:
        """In place of another device's context, which may have been chosen in this thread since."""
        current: Driver | None = getattr(_here, "driver", lambda: None)()
        if current is self:
            return
        if current is not None:
            self.guard("cuCtxPopCurrent", current._context.pop)
        self.guard("cuCtxPushCurrent", self._context.push)
        _here.driver = weakref.ref(self)

    def guard(self, name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """`call`, with PyCUDA's exception as a DeviceError."""
        try:
            return call(*arguments, **options)
        except self.api.Error as error:
            routine, _, text = str(error).partition(" failed: ")
            text = text.partition(" - ")[0].strip()
            raise failure(routine if text else name, _CODES.get(text, type(error).__name__), str(error)) from error


class PycudaDevice(Owner):
    """One GPU.

    Args:
        ordinal: its number, as `nvidia-smi -L` lists it.
    """

    layer, captures, evidence = "pycuda", False, MEASURED
    dlpack_type = 2  # kDLCUDA

    def __init__(self, ordinal: int = 0) -> None:
        self.ordinal, self.driver = ordinal, Driver(ordinal)
        self.properties = _properties(self.driver)
        self._modules: list[PycudaModule] = []
        self._lock, self._libcuda = threading.Lock(), functools.cache(libcuda.load)
        super().__init__(self._modules.clear)

    def activate(self) -> None:
        self.driver.make_current()

    def free_memory(self) -> int:
        free, _total = self.driver("cuMemGetInfo", self.driver.api.mem_get_info)
        return int(free)

    def allocate(self, nbytes: int) -> PycudaMemory:
        return PycudaMemory(self.driver, nbytes)

    def allocate_host(self, nbytes: int, kind: HostKind | None = None) -> PycudaHostMemory:
        return PycudaHostMemory(self.driver, nbytes, kind or self.properties.host_kind)

    def stream(self) -> PycudaStream:
        return PycudaStream(self.driver)

    def event(self, timed: bool = False) -> PycudaEvent:
        return PycudaEvent(self.driver, timed)

    def kernels(self) -> PycudaModule:
        with self._lock:
            if not self._modules:
                self._modules.append(PycudaModule(self.driver, kernel_image(self.properties)))
            return self._modules[0]

    def to_device(self, destination: int, source: npt.NDArray[Any], stream: Stream) -> None:
        call = self.driver.api.memcpy_htod_async
        self.driver("cuMemcpyHtoDAsync", call, destination, source, raw(stream))

    def to_host(self, destination: npt.NDArray[Any], source: int, stream: Stream) -> None:
        call = self.driver.api.memcpy_dtoh_async
        self.driver("cuMemcpyDtoHAsync", call, destination, source, raw(stream))

    def copy(self, destination: int, source: int, nbytes: int, stream: Stream) -> None:
        call = self.driver.api.memcpy_dtod_async
        self.driver("cuMemcpyDtoDAsync", call, destination, source, nbytes, raw(stream))

    def fill(self, address: int, value: int, nbytes: int, stream: Stream) -> None:
        call = self.driver.api.memset_d8_async
        self.driver("cuMemsetD8Async", call, address, value, nbytes, raw(stream))

    def gpu_of(self, address: int) -> int:
        self.driver.make_current()
        return libcuda.gpu_of(self._libcuda(), address)

    def order(self, first: int, then: int) -> None:
        text = "PyCUDA cannot order streams of other libraries: synchronise them first, or use device='cuda'"
        raise failure("cuEventRecord", "CUDA_ERROR_NOT_SUPPORTED", text)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        raise failure("cuStreamBeginCapture", "CUDA_ERROR_NOT_SUPPORTED", "PyCUDA has no graphs: use device='cuda'")


class PycudaMemory(Owner):
    """Device memory."""

    def __init__(self, driver: Driver, nbytes: int) -> None:
        allocation = driver("cuMemAlloc", driver.api.mem_alloc, nbytes)
        self.address, self.nbytes = int(allocation), nbytes
        super().__init__(driver, "cuMemFree", allocation.free)


class PycudaHostMemory(Owner):
    """Page-locked or unified memory; freed when the last view of it is gone."""

    def __init__(self, driver: Driver, nbytes: int, kind: HostKind) -> None:
        api, self.kind = driver.api, kind
        if kind is HostKind.UNIFIED:
            attach = api.mem_attach_flags.GLOBAL
            array = driver("cuMemAllocManaged", api.managed_empty, nbytes, np.uint8, mem_flags=attach)
        else:
            flags = api.host_alloc_flags.PORTABLE | api.host_alloc_flags.DEVICEMAP * (kind is HostKind.MAPPED)
            array = driver("cuMemHostAlloc", api.pagelocked_empty, nbytes, np.uint8, mem_flags=flags)
        self.array: Bytes = array
        pointer = array.base.get_device_pointer
        self.address = 0 if kind is HostKind.PINNED else int(driver("cuMemHostGetDevicePointer", pointer))
        super().__init__(lambda: None)


class PycudaStream(Owner):
    """A stream; PyCUDA frees it with its last reference."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self.raw = driver, driver("cuStreamCreate", driver.api.Stream, _NON_BLOCKING)
        self.handle = int(self.raw.handle)
        super().__init__(lambda: None)

    def synchronize(self) -> None:
        self._driver("cuStreamSynchronize", self.raw.synchronize)

    def wait(self, event: Any) -> None:
        self._driver("cuStreamWaitEvent", self.raw.wait_for_event, event.raw)


class PycudaEvent(Owner):
    """An event."""

    def __init__(self, driver: Driver, timed: bool) -> None:
        flags = driver.api.event_flags.DEFAULT if timed else driver.api.event_flags.DISABLE_TIMING
        self._driver, self.raw = driver, driver("cuEventCreate", driver.api.Event, int(flags))
        super().__init__(lambda: None)

    def record(self, stream: Stream) -> None:
        self._driver("cuEventRecord", self.raw.record, raw(stream))

    def synchronize(self) -> None:
        self._driver("cuEventSynchronize", self.raw.synchronize)

    def done(self) -> bool:
        return bool(self._driver("cuEventQuery", self.raw.query))

    def elapsed_ms(self, start: Any) -> float:
        return float(self._driver("cuEventElapsedTime", self.raw.time_since, start.raw))


class PycudaModule(Owner):
    """Kernels of one binary."""

    def __init__(self, driver: Driver, image: bytes) -> None:
        self._driver = driver
        self._module = driver("cuModuleLoadData", driver.api.module_from_buffer, image)
        self._functions: dict[str, Any] = {}
        super().__init__(self._functions.clear)

    def launch(self, launch: Launch, arguments: Sequence[Any], stream: Stream) -> None:
        function = self._function(launch.entry, arguments)
        values = [argument.value or 0 for argument in arguments]  # a null pointer reads as None
        prepared = functools.partial(function.prepared_async_call, shared_size=launch.shared_bytes)
        self._driver("cuLaunchKernel", prepared, launch.grid, launch.block, raw(stream), *values)

    def _function(self, entry: str, arguments: Sequence[Any]) -> Any:
        if entry not in self._functions:
            function = self._driver("cuModuleGetFunction", self._module.get_function, entry)
            function.prepare([_FORMATS[type(argument)] for argument in arguments])
            self._functions[entry] = function
        return self._functions[entry]


def raw(stream: Any) -> Any:
    """PyCUDA's own stream."""
    return stream.raw


def _properties(driver: Driver) -> Properties:
    names = driver.api.device_attribute

    def attribute(name: str) -> int:
        return int(driver("cuDeviceGetAttribute", driver.device.get_attribute, getattr(names, name)))

    version = int(driver.api.get_driver_version())
    return Properties(
        name=driver.device.name(),
        compute_capability=tuple(driver.device.compute_capability()),
        integrated=bool(attribute("INTEGRATED")),
        maps_host_memory=bool(attribute("CAN_MAP_HOST_MEMORY")),
        concurrent_managed_access=bool(attribute("CONCURRENT_MANAGED_ACCESS")),
        multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
        total_memory=int(driver.device.total_memory()),
        driver_version=(version // 1000, version % 1000 // 10),
    )


def _conforms(device: PycudaDevice) -> Device:
    """Holds the type checker to it."""
    return device
