"""cuda.bindings.driver over the emulated device: runs cuda_python.py where there is no GPU.

Enumerations and handle types are the real ones, and every call is held to the real function's number of arguments.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import numpy as np
from cuda.bindings import driver as real

from puvae_rt.device import HostKind
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.device.emulated.objects import KernelNode
from puvae_rt.errors import ClosedError, DeviceError
from puvae_rt.kernels.launch import Launch, PreprocessArgs, SelectProjectionArgs

ARGUMENTS = {"select_projection": SelectProjectionArgs, "preprocess": PreprocessArgs}
OK = real.CUresult.CUDA_SUCCESS
CONTEXT_FREE = re.compile("cuInit|cuDriver|cuGetError|cuDevice|cuCtxSetCurrent")  # all others work on the current one
ATTRIBUTES = {
    "COMPUTE_CAPABILITY_MAJOR": lambda p: p.compute_capability[0],
    "COMPUTE_CAPABILITY_MINOR": lambda p: p.compute_capability[1],
    "INTEGRATED": lambda p: p.integrated,
    "CAN_MAP_HOST_MEMORY": lambda p: p.maps_host_memory,
    "CONCURRENT_MANAGED_ACCESS": lambda p: p.concurrent_managed_access,
    "MULTIPROCESSOR_COUNT": lambda p: p.multiprocessors,
}


def arity(name: str) -> tuple[int, int]:
    """The fewest and the most arguments of a function of the bindings, from its signature line."""
    line = re.match(r"\w+\((.*)\)", getattr(real, name).__doc__)[1]
    parameters = [p for p in re.sub(r"\[.*?\]", "", line).split(",") if p.strip()]
    return len([p for p in parameters if "=" not in p]), len(parameters)


class FakeDriver:
    def __init__(self, device: EmulatedDevice) -> None:
        self.device, self.contexts, self.objects = device, 0, {}
        self.calls: Counter[str] = Counter()
        self.thread = threading.local()  # `context`: the current one, of whichever library
        self._numbers = itertools.count(0x10000)

    def __getattr__(self, name: str) -> Any:
        if not re.match(r"cu[A-Z]", name):
            return getattr(real, name)
        function = object.__getattribute__(self, f"_{name}")

        def checked(*arguments: Any) -> tuple[Any, ...]:
            low, high = arity(name)
            assert low <= len(arguments) <= high, f"{name} takes {low} to {high} arguments: got {len(arguments)}"
            self.calls[name] += 1
            if not CONTEXT_FREE.match(name) and getattr(self.thread, "context", 0) != 1:
                return (real.CUresult.CUDA_ERROR_INVALID_CONTEXT,)
            try:
                result = function(*arguments)
            except DeviceError as error:
                return (getattr(real.CUresult, error.code),)
            except ClosedError:
                return (real.CUresult.CUDA_ERROR_INVALID_HANDLE,)
            return (OK, *result) if isinstance(result, tuple) else (OK,) if result is None else (OK, result)

        return checked

    def keep(self, thing: Any, number: int | None = None) -> int:
        number = next(self._numbers) if number is None else number
        self.objects[number] = thing
        return number

    def of(self, handle: Any) -> Any:
        if int(handle) not in self.objects:
            raise DeviceError("driver", "CUDA_ERROR_INVALID_HANDLE", f"{handle}")
        return self.objects[int(handle)]

    def drop(self, handle: Any) -> None:
        self.of(handle).close()
        del self.objects[int(handle)]

    def _cuInit(self, flags):  # noqa: N802
        assert flags == 0

    def _cuDriverGetVersion(self):  # noqa: N802
        return 13000

    def _cuGetErrorString(self, status):  # noqa: N802
        return status.name.lower().encode()

    def _cuDeviceGet(self, ordinal):  # noqa: N802
        if ordinal != 0:
            raise DeviceError("cuDeviceGet", "CUDA_ERROR_INVALID_DEVICE", "")
        return 0

    def _cuDeviceGetName(self, length, device):  # noqa: N802
        return self.device.properties.name.encode().ljust(length, b"\0")

    def _cuDeviceTotalMem(self, device):  # noqa: N802
        return self.device.properties.total_memory

    def _cuDeviceGetAttribute(self, attribute, device):  # noqa: N802
        return int(ATTRIBUTES[attribute.name.removeprefix("CU_DEVICE_ATTRIBUTE_")](self.device.properties))

    def _cuDevicePrimaryCtxRetain(self, device):  # noqa: N802
        self.contexts += 1
        return real.CUcontext(1)

    def _cuDevicePrimaryCtxRelease(self, device):  # noqa: N802
        self.contexts -= 1

    def _cuCtxSetCurrent(self, context):  # noqa: N802
        self.thread.context = int(context)

    def _cuMemGetInfo(self):  # noqa: N802
        return self.device.free_memory(), self.device.properties.total_memory

    def _cuMemAlloc(self, nbytes):  # noqa: N802
        memory = self.device.allocate(nbytes)
        return real.CUdeviceptr(self.keep(memory, memory.address))

    def _host(self, nbytes, kind):
        memory = self.device.allocate_host(nbytes, kind)
        return self.keep(memory, memory.array.ctypes.data)

    def _cuMemHostAlloc(self, nbytes, flags):  # noqa: N802
        return self._host(nbytes, HostKind.MAPPED if flags & real.CU_MEMHOSTALLOC_DEVICEMAP else HostKind.PINNED)

    def _cuMemAllocManaged(self, nbytes, flags):  # noqa: N802
        assert flags == int(real.CUmemAttach_flags.CU_MEM_ATTACH_GLOBAL)
        return real.CUdeviceptr(self._host(nbytes, HostKind.UNIFIED))

    def _cuMemHostGetDevicePointer(self, host, flags):  # noqa: N802
        return real.CUdeviceptr(self.of(host).address)

    def _cuMemFree(self, address):  # noqa: N802
        self.drop(address)

    def _cuMemFreeHost(self, address):  # noqa: N802
        self.drop(address)

    def _bytes(self, address, nbytes):
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(int(address)))

    def _cuMemcpyHtoDAsync(self, target, source, nbytes, stream):  # noqa: N802
        self.device.to_device(int(target), self._bytes(source, nbytes), self.of(stream))

    def _cuMemcpyDtoHAsync(self, target, source, nbytes, stream):  # noqa: N802
        self.device.to_host(self._bytes(target, nbytes), int(source), self.of(stream))

    def _cuMemcpyDtoDAsync(self, target, source, nbytes, stream):  # noqa: N802
        self.device.copy(int(target), int(source), nbytes, self.of(stream))

    def _cuPointerGetAttribute(self, attribute, address):  # noqa: N802
        assert attribute == real.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return self.device.gpu_of(int(address))

    def _cuMemsetD8Async(self, address, value, nbytes, stream):  # noqa: N802
        self.device.fill(int(address), value, nbytes, self.of(stream))

    def _cuStreamCreate(self, flags):  # noqa: N802
        assert flags == int(real.CUstream_flags.CU_STREAM_NON_BLOCKING)
        stream = self.device.stream()
        return real.CUstream(self.keep(stream, stream.handle))

    def _cuStreamDestroy(self, stream):  # noqa: N802
        self.drop(stream)

    def _cuStreamSynchronize(self, stream):  # noqa: N802
        self.of(stream).synchronize()

    def _cuStreamWaitEvent(self, stream, event, flags):  # noqa: N802
        self.of(stream).wait(self.of(event))

    def _cuEventCreate(self, flags):  # noqa: N802
        timed = not flags & int(real.CUevent_flags.CU_EVENT_DISABLE_TIMING)
        return real.CUevent(self.keep(self.device.event(timed)))

    def _cuEventDestroy(self, event):  # noqa: N802
        self.drop(event)

    def _cuEventRecord(self, event, stream):  # noqa: N802
        self.of(event).record(self.of(stream))

    def _cuEventSynchronize(self, event):  # noqa: N802
        self.of(event).synchronize()

    def _cuEventQuery(self, event):  # noqa: N802
        if not self.of(event).done():
            raise DeviceError("cuEventQuery", "CUDA_ERROR_NOT_READY", "")

    def _cuEventElapsedTime(self, start, end):  # noqa: N802
        return self.of(end).elapsed_ms(self.of(start))

    def _cuModuleLoadData(self, image):  # noqa: N802
        assert image == b"image"
        return real.CUmodule(self.keep(self.device.kernels()))

    def _cuModuleUnload(self, module):  # noqa: N802
        self.drop(module)

    def _cuModuleGetFunction(self, module, name):  # noqa: N802
        return real.CUfunction(self.keep(SimpleNamespace(module=self.of(module), entry=name.decode())))

    def _arguments(self, entry: str, pointers: int) -> tuple[Any, ...]:
        """What the driver does with void**: it reads each argument by the kernel's own types."""
        hints = get_type_hints(next(c for k, c in ARGUMENTS.items() if entry.startswith(k)), include_extras=True)
        kinds = [get_args(hint)[1] for hint in hints.values()]
        addresses = (ctypes.c_void_p * len(kinds)).from_address(pointers)
        return tuple(kind.from_buffer_copy(kind.from_address(a)) for kind, a in zip(kinds, addresses, strict=True))

    def _cuLaunchKernel(self, f, gx, gy, gz, bx, by, bz, shared, stream, pointers, extra):  # noqa: N802
        function = self.of(f)
        launch = Launch(function.entry, (gx, gy, gz), (bx, by, bz), shared)
        function.module.launch(launch, self._arguments(function.entry, pointers), self.of(stream))

    def _cuStreamBeginCapture(self, stream, mode):  # noqa: N802
        assert mode == real.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.device.begin_capture(self.of(stream).queue)

    def _cuStreamEndCapture(self, stream):  # noqa: N802
        return real.CUgraph(self.keep(self.device.end_capture(self.of(stream).queue)))

    def _cuGraphInstantiate(self, graph, flags):  # noqa: N802
        return real.CUgraphExec(self.keep(self.of(graph)))

    def _cuGraphLaunch(self, graph, stream):  # noqa: N802
        self.of(graph).launch(self.of(stream))

    def _cuGraphDestroy(self, graph):  # noqa: N802
        self.drop(graph)

    def _cuGraphExecDestroy(self, graph):  # noqa: N802
        del self.objects[int(graph)]

    def _cuGraphGetNodes(self, graph, count=0):  # noqa: N802
        nodes = self.of(graph)._operations
        return ([real.CUgraphNode(self.keep(node)) for node in nodes[:count]], len(nodes))

    def _cuGraphNodeGetType(self, node):  # noqa: N802
        kinds = real.CUgraphNodeType
        kernel = isinstance(self.of(node), KernelNode)
        return kinds.CU_GRAPH_NODE_TYPE_KERNEL if kernel else kinds.CU_GRAPH_NODE_TYPE_MEMCPY

    def _cuGraphKernelNodeGetParams(self, node):  # noqa: N802
        entry = self.of(node).launch.entry
        functions = [h for h, o in self.objects.items() if getattr(o, "entry", None) == entry]
        return SimpleNamespace(func=real.CUfunction(functions[0] if functions else 0), kernelParams=0)

    def _cuGraphExecKernelNodeSetParams(self, graph, node, parameters):  # noqa: N802
        kernel = self.of(node)
        arguments = self._arguments(kernel.launch.entry, parameters.kernelParams)
        self.of(graph).set_arguments(kernel.launch, arguments)
