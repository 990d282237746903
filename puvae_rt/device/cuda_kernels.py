"""Kernels of the CUDA layer: loaded, launched, and found again in a captured graph."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from puvae_rt.device.owned import Owner
from puvae_rt.device.protocol import Stream
from puvae_rt.device.status import failure
from puvae_rt.errors import DeviceError, PuvaeError
from puvae_rt.kernels.launch import Launch

if TYPE_CHECKING:
    from puvae_rt.device.cuda import Driver


class CudaModule(Owner):
    """Kernels of one binary."""

    def __init__(self, driver: Driver, image: bytes) -> None:
        self._driver = driver
        self._module = driver("cuModuleLoadData", image)
        self._functions: dict[str, Any] = {}
        super().__init__(driver, "cuModuleUnload", self._module)

    def function(self, entry: str) -> Any:
        """The handle of an entry point."""
        if entry not in self._functions:
            self._functions[entry] = self._driver("cuModuleGetFunction", self._module, entry.encode())
        return self._functions[entry]

    def launch(self, launch: Launch, arguments: Sequence[Any], stream: Stream) -> None:
        pointers = _pointers(arguments)
        self._driver(
            "cuLaunchKernel",
            self.function(launch.entry),
            *launch.grid,
            *launch.block,
            launch.shared_bytes,
            stream.handle,
            ctypes.addressof(pointers),
            0,
        )


class CudaGraph(Owner):
    """An executable graph, with the template that its kernels are found in."""

    def __init__(self, driver: Driver, template: Any, function: Callable[[str], Any]) -> None:
        self._driver, self._template, self._function = driver, template, function
        self._nodes: dict[str, tuple[Any, Any]] = {}  # by entry point: found once, not at every frame
        try:
            self._exec = driver("cuGraphInstantiate", template, 0)
        except PuvaeError:
            driver("cuGraphDestroy", template)
            raise
        super().__init__(_destroy_graph, driver, self._exec, template)

    def launch(self, stream: Stream) -> None:
        self.check_open()
        self._driver("cuGraphLaunch", self._exec, stream.handle)

    def set_arguments(self, launch: Launch, arguments: Sequence[Any]) -> None:
        self.check_open()
        if launch.entry not in self._nodes:
            self._nodes[launch.entry] = self._kernel(launch)
        node, parameters = self._nodes[launch.entry]
        pointers = _pointers(arguments)
        parameters.kernelParams = ctypes.addressof(pointers)
        self._driver("cuGraphExecKernelNodeSetParams", self._exec, node, parameters)

    def _kernel(self, launch: Launch) -> tuple[Any, Any]:
        """The captured launch that has this entry point, and its parameters."""
        call, kind = self._driver, self._driver.api.CUgraphNodeType.CU_GRAPH_NODE_TYPE_KERNEL
        _, count = call("cuGraphGetNodes", self._template)
        nodes, _ = call("cuGraphGetNodes", self._template, count)
        described = [(node, self._parameters(node)) for node in nodes if call("cuGraphNodeGetType", node) == kind]
        wanted = int(self._function(launch.entry))
        found = [(node, p) for node, p in described if p is not None and int(p.func) == wanted]
        if len(found) != 1:
            text = f"{len(found)} captured launches of {launch.entry}, expected one"
            raise failure("cuGraphExecKernelNodeSetParams", "CUDA_ERROR_NOT_FOUND", text)
        return found[0]

    def _parameters(self, node: Any) -> Any:
        """Of a kernel node; None where the driver does not tell them, as for some of other libraries' kernels."""
        try:
            return self._driver("cuGraphKernelNodeGetParams", node)
        except DeviceError:
            return None


def _destroy_graph(driver: Driver, executable: Any, template: Any) -> None:
    driver("cuGraphExecDestroy", executable)
    driver("cuGraphDestroy", template)


def _pointers(arguments: Sequence[Any]) -> Any:
    """void*[]: the address of each argument, which the driver reads during the call."""
    return (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
