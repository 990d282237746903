"""Kernels compiled at run time by NVRTC, NVIDIA's compiler as a library, for a GPU that no built binary fits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from puvae_rt.errors import BuildError, TargetUnavailableError
from puvae_rt.kernels import stored
from puvae_rt.refusal import install
from puvae_rt.user_cache import cache_folder

OPTIONS = ("--std=c++17",)
_INSTALL = f"install NVRTC with {install('cuda')}; for CUDA 12 boards, {install('cuda12')}"


class Compiled(NamedTuple):
    """A module for cuModuleLoadData, and in words what made it."""

    image: bytes
    origin: str


def compile_for(
    source: Path, capability: tuple[int, int], driver: tuple[int, int], digest: str, cache: Path | None = None
) -> Compiled:
    """Compiles `source`, whose includes lie beside it, for one GPU; kept in the user's cache.

    Args:
        source: a .cu file.
        capability: the GPU's compute capability.
        driver: the CUDA version that its driver supports.
        digest: of all sources, to tell a cached result that is out of date.
        cache: folder of results.
    Raises:
        TargetUnavailableError: NVRTC is absent, or too new for the driver, or too old for the GPU.
        BuildError: NVRTC refused the source; its log is in the message.
    """
    api = _api()
    version = _checked(api, "nvrtcVersion")
    kind, number = target(capability, driver, version, _checked(api, "nvrtcGetSupportedArchs"))
    origin = f"{kind}_{number} compiled by NVRTC {version[0]}.{version[1]}"
    options = (f"--gpu-architecture={kind}_{number}", *OPTIONS)
    key = hashlib.sha256("\0".join((digest, origin, *options)).encode()).hexdigest()[:24]
    folder = cache or cache_folder("kernels")
    image = folder and stored.load(folder / f"nvrtc-{key}.bin")
    if not image:
        image = _compiled(api, source, (*options, f"--include-path={source.parent}"), kind)
        if folder is not None:
            stored.store(folder / f"nvrtc-{key}.bin", image)
    return Compiled(image, origin)


def installed() -> tuple[int, int]:
    """NVRTC's version; TargetUnavailableError when there is none."""
    version: tuple[int, int] = _checked(_api(), "nvrtcVersion")
    return version


def target(
    capability: tuple[int, int], driver: tuple[int, int], version: tuple[int, int], supported: Sequence[int]
) -> tuple[str, int]:
    """What this NVRTC shall make: ("sm", 87) where it knows the GPU, else the newest PTX that the driver finishes."""
    number = capability[0] * 10 + capability[1]
    if version[0] > driver[0]:
        raise TargetUnavailableError(
            f"NVRTC {version[0]}.{version[1]} makes code for drivers of CUDA {version[0]}, and this one has CUDA "
            f"{driver[0]}.{driver[1]}; install the NVRTC of that CUDA (12: {install('cuda12')}), "
            "or a newer driver"
        )
    if number in supported:
        return "sm", number
    older = [arch for arch in supported if arch < number]
    if not older or version > driver:
        raise TargetUnavailableError(
            f"NVRTC {version[0]}.{version[1]} knows the compute capabilities {', '.join(map(str, supported))} and not "
            f"{number}; install the NVRTC of your driver's CUDA {driver[0]}.{driver[1]}"
        )
    return "compute", max(older)


def _compiled(api: Any, source: Path, options: Sequence[str], kind: str) -> bytes:
    program = _checked(api, "nvrtcCreateProgram", source.read_bytes(), source.name.encode(), 0, [], [])
    try:
        status, *_ = api.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if status.value:
            raise BuildError(f"NVRTC did not compile {source} ({status.name}); mend it:\n{_log(api, program)}")
        what = "CUBIN" if kind == "sm" else "PTX"
        image = bytearray(_checked(api, f"nvrtcGet{what}Size", program))
        _checked(api, f"nvrtcGet{what}", program, image)
        return bytes(image)
    finally:
        api.nvrtcDestroyProgram(program)


def _log(api: Any, program: Any) -> str:
    log = bytearray(_checked(api, "nvrtcGetProgramLogSize", program))
    _checked(api, "nvrtcGetProgramLog", program, log)
    return log.rstrip(b"\0").decode(errors="replace")


def _checked(api: Any, name: str, *arguments: Any) -> Any:
    status, *results = getattr(api, name)(*arguments)
    if status.value:
        raise BuildError(f"{name} failed with {status.name}; reinstall: {_INSTALL}")
    return results[0] if len(results) == 1 else tuple(results)


def _api() -> Any:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except Exception as error:  # ImportError, or by version cuda.pathfinder's own class or RuntimeError
        first = str(error).strip().partition("\n")[0]
        raise TargetUnavailableError(
            f"NVRTC is missing ({first}); {_INSTALL}, or build the kernels where nvcc is: "
            "`cmake -B build && cmake --build build`"
        ) from error
    return nvrtc
