"""Each part of the path from a frame to a label on a GPU, looked at in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from puvae_rt.contract import MEASURED
from puvae_rt.device import Device, open_device
from puvae_rt.doctor.board import board_checks
from puvae_rt.doctor.report import Check, Report
from puvae_rt.errors import PuvaeError
from puvae_rt.gpu.tensorrt.library import COMPUTE_CAPABILITIES, LIBRARIES, dotted, load, serves
from puvae_rt.kernels import binary, nvrtc
from puvae_rt.native import library
from puvae_rt.runtime import machine
from puvae_rt.runtime.assets import shipped_names
from puvae_rt.runtime.bundle import HOST

LEAST_FREE = 512 << 20  # bytes: engine, buffers and TensorRT's own
_MIB = 1 << 20


def diagnose(device: str | None = None) -> Report:
    """Looks at everything; never raises for what is missing. `device` as `open_device` takes it."""
    cpu = (*_cpu(), _native())
    host = tuple(target for target, check in zip(HOST, cpu, strict=True) if check.ok)
    try:
        opened = open_device(device)
    except PuvaeError as error:
        missing = Check("GPU", False, "none usable", str(error))
        checks = (*cpu, missing, _kernels_at_hand(), *board_checks(), *_libraries(None))
        return Report(checks, host, MEASURED)
    with opened:
        gpu = (*_gpu(opened), *board_checks())
        libraries = _libraries(opened)
        usable = opened.evidence == MEASURED and all(check.ok is not False for check in gpu)
        ready = tuple(target for target, check in zip(LIBRARIES, libraries, strict=True) if usable and check.ok)
        return Report((*cpu, *gpu, *libraries), host + ready, opened.evidence)


def _cpu() -> tuple[Check, ...]:
    try:
        runtime = import_module("onnxruntime").__version__
    except ImportError as error:
        return (Check("CPU target", False, str(error), "python -m pip install onnxruntime"),)
    models = ", ".join(shipped_names()) or "none shipped"
    found = f"ONNX Runtime {runtime}, {machine.available_cpus()} processors, {machine.cpu_model()}; models: {models}"
    return (Check("CPU target", True, found),)


def _native() -> Check:
    """Without it target native runs in ONNX Runtime, so a lack of it is no failure."""
    try:
        return Check("native target", True, f"libpuvae: {library.origin()}")
    except PuvaeError as error:
        return Check("native target", None, "no libpuvae: ONNX Runtime stands in for it", str(error))


def _gpu(device: Device) -> Iterator[Check]:
    p = device.properties
    driver = ".".join(map(str, p.driver_version))
    yield Check("driver", True, f"for CUDA up to {driver}, through {device.layer} {_package(device.layer)}".strip())
    capability = ".".join(map(str, p.compute_capability))
    kind = "shares the host's memory" if p.integrated else "has memory of its own"
    yield Check("GPU", True, f"{p.name}, compute capability {capability}, {p.multiprocessors} SMs, {kind}")
    graphs = "yes" if device.captures else "no: every call is enqueued one by one"
    yield Check("CUDA graphs", None, graphs, "use device='cuda' (pip install cuda-bindings)")
    yield _kernels(device)
    free = device.free_memory()
    remedy = "close other programs on the GPU"
    found = f"{free // _MIB} of {p.total_memory // _MIB} MiB"
    yield Check("free memory", free >= LEAST_FREE, found, remedy)


def _kernels(device: Device) -> Check:
    """The binary that would be loaded, or NVRTC's result."""
    p = device.properties
    try:
        found = binary.find(p.compute_capability, p.driver_version)
    except PuvaeError as error:
        return Check("kernels", False, "no binary fits and none can be compiled", str(error))
    return Check("kernels", True, found.origin)


def _kernels_at_hand() -> Check:
    """For information, where there is no GPU to choose for."""
    built = ", ".join(map(str, binary.listed())) or "none built"
    try:
        major, minor = nvrtc.installed()
    except PuvaeError as error:
        return Check("kernels", None, f"{built}; no NVRTC to compile them at run time", str(error))
    return Check("kernels", None, f"{built}; NVRTC {major}.{minor} compiles them at run time")


def _libraries(device: Device | None) -> tuple[Check, ...]:
    """One check for each GPU target, in the order of LIBRARIES. One that works is enough: the other is not missing."""
    checks = [_library(target, device) for target in LIBRARIES]
    if any(check.ok for check in checks):
        checks = [replace(check, ok=None) if check.ok is False else check for check in checks]
    return tuple(checks)


def _library(target: str, device: Device | None) -> Check:
    name = f"target {target}"
    capability = device.properties.compute_capability if device else None
    library = LIBRARIES[target]
    if capability is not None and not serves(target, capability):
        found = f"{library.name} does not serve compute capability {dotted(capability)}"
        return Check(name, None, found, f"it serves {', '.join(COMPUTE_CAPABILITIES)}; use target 'tensorrt' here")
    try:
        module = load(target)
    except PuvaeError as error:
        return Check(name, False, f"no {library.module}", str(error))
    return Check(name, True, f"{library.module} {module.__version__}")


def _package(layer: str) -> str:
    """Version of the package behind a device layer; empty for the emulated one."""
    try:
        return version({"cuda": "cuda-bindings", "pycuda": "pycuda"}.get(layer, ""))
    except (PackageNotFoundError, ValueError):
        return ""
