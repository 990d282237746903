"""The device layer: one protocol, three implementations, opened by name."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from puvae_rt.device.protocol import (
    ALIGNMENT,
    Device,
    Event,
    Graph,
    HostKind,
    HostMemory,
    Memory,
    Module,
    Properties,
    Stream,
)
from puvae_rt.errors import ContractError, TargetUnavailableError
from puvae_rt.refusal import brief

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ALIGNMENT",
    "LAYERS",
    "Device",
    "Event",
    "Graph",
    "HostKind",
    "HostMemory",
    "Memory",
    "Module",
    "Properties",
    "Stream",
    "open_device",
]

CUDA, PYCUDA, EMULATED = "cuda", "pycuda", "emulated"
LAYERS = (CUDA, PYCUDA, EMULATED)


def open_device(name: str | None = None) -> Device:
    """A device by name.

    Args:
        name: "cuda" or "pycuda", with the GPU's number after a colon ("cuda:1"; 0 without); "emulated" runs on the
            CPU, the number being the seed of its order. None takes cuda's bindings, or PyCUDA where only that is
            installed; never the emulated device.
    Raises:
        ContractError: no such name.
        TargetUnavailableError: the library or the driver is missing.
        DeviceError: no such GPU.
    """
    layer, _, number = (name or _installed()).partition(":")
    if layer not in LAYERS or (number and not number.isdecimal()):
        known = ", ".join(LAYERS)
        raise ContractError(f"device: got {brief(name)}, expected one of {known}, with a number as in 'cuda:1'")
    return _opener(layer)(int(number or 0))


def _installed() -> str:
    # find_spec of a submodule imports its parents, and fails when they are missing.
    if find_spec("cuda") is not None and find_spec("cuda.bindings") is not None:
        return CUDA
    if find_spec("pycuda") is not None:
        return PYCUDA
    raise TargetUnavailableError(
        "no device layer: install NVIDIA's bindings with `pip install cuda-bindings` (or PyCUDA), "
        "or give device='emulated' to try the pipeline on the CPU"
    )


def _opener(layer: str) -> Callable[[int], Device]:
    """Imported on demand: each needs libraries of its own."""
    if layer == CUDA:
        from puvae_rt.device.cuda import CudaDevice

        return CudaDevice
    if layer == PYCUDA:
        from puvae_rt.device.pycuda import PycudaDevice

        return PycudaDevice
    from puvae_rt.device.emulated import EmulatedDevice

    return EmulatedDevice
