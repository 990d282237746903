"""The device protocol on NVIDIA's own Python bindings (cuda.bindings), by the driver API.

The driver API is the part that stays the same from CUDA 12 to 13, is what PyCUDA wraps as well, and gives back a
status from every call. The device's primary context is used, which PyTorch, CuPy and TensorRT share.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from puvae_rt.contract import MEASURED
from puvae_rt.device.binaries import kernel_image
from puvae_rt.device.cuda_kernels import CudaGraph, CudaModule
from puvae_rt.device.owned import Owner
from puvae_rt.device.protocol import Bytes, Device, HostKind, Properties, Stream
from puvae_rt.device.status import NOT_READY, SUCCESS, failure
from puvae_rt.errors import DeviceError, TargetUnavailableError

_INSTALL = "install it with `pip install cuda-bindings` (its major version is that of the driver's CUDA)"


class Driver:
    """The driver with every status checked, in the primary context of one GPU."""

    def __init__(self, ordinal: int) -> None:
        self.api = load_api()
        self._ok = self.api.CUresult.CUDA_SUCCESS
        self._call("cuInit", 0)
        self.device = self._call("cuDeviceGet", ordinal)
        self._context = self._call("cuDevicePrimaryCtxRetain", self.device)
        weakref.finalize(self, self.api.cuDevicePrimaryCtxRelease, self.device)

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Calls `name` in this device's context; its results without the status. DeviceError when it failed."""
        (status,) = self.api.cuCtxSetCurrent(self._context)
        if status is not self._ok:
            self.make_current()  # says what is wrong
        return self._call(name, *arguments)

    def make_current(self) -> None:
        """Each time anew: another device or library may have chosen another context in this thread since."""
        self._call("cuCtxSetCurrent", self._context)

    def ready(self, name: str, *arguments: Any) -> bool:
        """As a call, of a query that may answer "not yet"."""
        self.make_current()
        (status,) = getattr(self.api, name)(*arguments)
        if status.name not in (SUCCESS, NOT_READY):
            raise failure(name, status.name, self._describe(status))
        return bool(status.name == SUCCESS)

    def _call(self, name: str, *arguments: Any) -> Any:
        found = getattr(self.api, name)(*arguments)
        status = found[0]
        if status is not self._ok and status.name != SUCCESS:  # a name is looked up longer than some calls take
            raise failure(name, status.name, self._describe(status))
        return found[1] if len(found) == 2 else found[1:]

    def _describe(self, status: Any) -> str:
        _, text = self.api.cuGetErrorString(status)
        return bytes(text or b"").decode(errors="replace")


def load_api() -> Any:
    """cuda.bindings.driver; TargetUnavailableError where it or the NVIDIA driver is missing."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise TargetUnavailableError(f"CUDA's Python bindings are missing ({error}); {_INSTALL}") from error
    try:
        driver.cuDriverGetVersion()
    except Exception as error:  # cuda.pathfinder's own class, or RuntimeError, by version
        first = str(error).strip().partition("\n")[0]
        raise TargetUnavailableError(
            f"no NVIDIA driver: {first} Install the driver of your GPU (`nvidia-smi` must work), "
            "or use device='emulated' to try the pipeline without one"
        ) from error
    return driver


class CudaDevice(Owner):
    """One GPU.

    Args:
        ordinal: its number, as `nvidia-smi -L` lists it.
    """

    layer, captures, evidence = "cuda", True, MEASURED
    dlpack_type = 2  # kDLCUDA

    def __init__(self, ordinal: int = 0) -> None:
        self.ordinal, self.driver = ordinal, Driver(ordinal)
        self.properties = _properties(self.driver)
        self._modules: list[CudaModule] = []
        self._lock = threading.Lock()
        super().__init__(_close_all, self._modules)

    def activate(self) -> None:
        self.driver.make_current()

    def free_memory(self) -> int:
        free, _total = self.driver("cuMemGetInfo")
        return int(free)

    def allocate(self, nbytes: int) -> CudaMemory:
        return CudaMemory(self.driver, nbytes)

    def allocate_host(self, nbytes: int, kind: HostKind | None = None) -> CudaHostMemory:
        return CudaHostMemory(self.driver, nbytes, kind or self.properties.host_kind)

    def stream(self) -> CudaStream:
        return CudaStream(self.driver)

    def event(self, timed: bool = False) -> CudaEvent:
        return CudaEvent(self.driver, timed)

    def kernels(self) -> CudaModule:
        with self._lock:
            if not self._modules:
                self._modules.append(CudaModule(self.driver, kernel_image(self.properties)))
            return self._modules[0]

    def to_device(self, destination: int, source: npt.NDArray[Any], stream: Stream) -> None:
        self.driver("cuMemcpyHtoDAsync", destination, _address(source), _nbytes(source), stream.handle)

    def to_host(self, destination: npt.NDArray[Any], source: int, stream: Stream) -> None:
        self.driver("cuMemcpyDtoHAsync", _address(destination), source, _nbytes(destination), stream.handle)

    def copy(self, destination: int, source: int, nbytes: int, stream: Stream) -> None:
        self.driver("cuMemcpyDtoDAsync", destination, source, nbytes, stream.handle)

    def fill(self, address: int, value: int, nbytes: int, stream: Stream) -> None:
        self.driver("cuMemsetD8Async", address, value, nbytes, stream.handle)

    def gpu_of(self, address: int) -> int:
        attribute = self.driver.api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return int(self.driver("cuPointerGetAttribute", attribute, address))

    def order(self, first: int, then: int) -> None:
        with self.event() as event:
            self.driver("cuEventRecord", event.handle, first)
            self.driver("cuStreamWaitEvent", then, event.handle, 0)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> CudaGraph:
        mode = self.driver.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL  # other threads may allocate
        self.driver("cuStreamBeginCapture", stream.handle, mode)
        try:
            enqueue()
        except BaseException:
            with suppress(DeviceError):  # the cause is on its way already
                self.driver("cuGraphDestroy", self.driver("cuStreamEndCapture", stream.handle))
            raise
        template = self.driver("cuStreamEndCapture", stream.handle)
        return CudaGraph(self.driver, template, self.kernels().function)


class CudaMemory(Owner):
    """Device memory."""

    def __init__(self, driver: Driver, nbytes: int) -> None:
        self.address, self.nbytes = int(driver("cuMemAlloc", nbytes)), nbytes
        super().__init__(driver, "cuMemFree", self.address)


class CudaHostMemory(Owner):
    """Page-locked or unified memory."""

    def __init__(self, driver: Driver, nbytes: int, kind: HostKind) -> None:
        api, self.kind, self.address = driver.api, kind, 0
        if kind is HostKind.UNIFIED:
            attach = api.CUmemAttach_flags.CU_MEM_ATTACH_GLOBAL
            host = self.address = int(driver("cuMemAllocManaged", nbytes, int(attach)))
        else:
            flags = api.CU_MEMHOSTALLOC_PORTABLE | api.CU_MEMHOSTALLOC_DEVICEMAP * (kind is HostKind.MAPPED)
            host = int(driver("cuMemHostAlloc", nbytes, flags))
        super().__init__(driver, "cuMemFree" if kind is HostKind.UNIFIED else "cuMemFreeHost", host)
        if kind is HostKind.MAPPED:
            self.address = int(driver("cuMemHostGetDevicePointer", host, 0))
        self.array: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(host))


class CudaStream(Owner):
    """A stream that does not wait for the legacy default stream."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.handle = int(driver("cuStreamCreate", int(driver.api.CUstream_flags.CU_STREAM_NON_BLOCKING)))
        super().__init__(driver, "cuStreamDestroy", self.handle)

    def synchronize(self) -> None:
        self._driver("cuStreamSynchronize", self.handle)

    def wait(self, event: Any) -> None:
        self._driver("cuStreamWaitEvent", self.handle, event.handle, 0)


class CudaEvent(Owner):
    """An event, without timing unless asked: recording it is cheaper then."""

    def __init__(self, driver: Driver, timed: bool) -> None:
        self._driver, kinds = driver, driver.api.CUevent_flags
        flags = kinds.CU_EVENT_DEFAULT if timed else kinds.CU_EVENT_DISABLE_TIMING
        self.handle = int(driver("cuEventCreate", int(flags)))
        super().__init__(driver, "cuEventDestroy", self.handle)

    def record(self, stream: Stream) -> None:
        self._driver("cuEventRecord", self.handle, stream.handle)

    def synchronize(self) -> None:
        self._driver("cuEventSynchronize", self.handle)

    def done(self) -> bool:
        return self._driver.ready("cuEventQuery", self.handle)

    def elapsed_ms(self, start: Any) -> float:
        return float(self._driver("cuEventElapsedTime", start.handle, self.handle))


def _close_all(owners: list[CudaModule]) -> None:
    for owner in owners:
        owner.close()


def _address(array: npt.NDArray[Any]) -> int:
    """What `array.ctypes.data` is, which takes three times as long."""
    return int(array.__array_interface__["data"][0])


def _nbytes(array: npt.NDArray[Any]) -> int:
    if not array.flags.c_contiguous:
        raise failure("cuMemcpyAsync", "CUDA_ERROR_INVALID_VALUE", "the host array is not contiguous")
    return array.nbytes


def _properties(driver: Driver) -> Properties:
    def attribute(name: str) -> int:
        key = getattr(driver.api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(driver("cuDeviceGetAttribute", key, driver.device))

    version = int(driver("cuDriverGetVersion"))
    return Properties(
        name=bytes(driver("cuDeviceGetName", 256, driver.device)).split(b"\0")[0].decode(errors="replace"),
        compute_capability=(attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")),
        integrated=bool(attribute("INTEGRATED")),
        maps_host_memory=bool(attribute("CAN_MAP_HOST_MEMORY")),
        concurrent_managed_access=bool(attribute("CONCURRENT_MANAGED_ACCESS")),
        multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
        total_memory=int(driver("cuDeviceTotalMem", driver.device)),
        driver_version=(version // 1000, version % 1000 // 10),
    )


def _conforms(device: CudaDevice) -> Device:
    """Holds the type checker to it."""
    return device
