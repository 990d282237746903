"""The TensorRT libraries by target: what each is called, how it is installed, and which GPUs it serves."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from puvae_rt.device import Properties
from puvae_rt.errors import BundleError, ContractError, TargetUnavailableError
from puvae_rt.refusal import install
from puvae_rt.runtime.manifest import Manifest


class Library(NamedTuple):
    """One compiler with its runtime.

    Attributes:
        module: its Python module.
        name: as users know it.
        remedy: how it is installed.
        ahead_of_time: whether it compiles for GPUs that are not in this machine.
    """

    module: str
    name: str
    remedy: str
    ahead_of_time: bool


LIBRARIES = {
    "rtx": Library("tensorrt_rtx", "TensorRT-RTX", f"install it with {install('rtx')}", True),
    "tensorrt": Library(
        "tensorrt",
        "TensorRT",
        "install it on the board that is to run the engine (Jetson: JetPack's own, `sudo apt-get install "
        "python3-libnvinfer`, in a venv with --system-site-packages; DRIVE: the one of its DriveOS; data-centre GPU: "
        "`python -m pip install tensorrt`, which fetches it from NVIDIA's index)",
        False,
    ),
}
MODULES = {target: library.module for target, library in LIBRARIES.items()}
COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")  # that TensorRT-RTX knows by name
BUILD = "tf32 off, user allocation"  # what every engine is built with: those of other settings leave the caches
ANY = "any"  # in place of a list: every GPU that TensorRT-RTX serves, those too that are later than its names
# One engine serves all of these in the same kernels; adding 7.5 costs the others two launches a frame.
DEFAULT_COMPUTE_CAPABILITIES = COMPUTE_CAPABILITIES[1:]


def load(target: str) -> Any:
    """The target's Python module; TargetUnavailableError says what to install where."""
    library = LIBRARIES[target]
    try:
        trt = import_module(library.module)
    except (ImportError, OSError) as error:  # OSError: the binding is there, its native library is not
        raise TargetUnavailableError(
            f"target {target!r}: {library.name} is not usable here ({error}); {library.remedy}"
        ) from error
    if not hasattr(trt.ICudaEngine, "num_io_tensors"):  # what all of this works by
        raise TargetUnavailableError(
            f"target {target!r}: {library.name} {trt.__version__} is too old, expected 8.5 or later; {library.remedy}"
        )
    return trt


def serves(target: str, compute_capability: tuple[int, int]) -> bool:
    """Whether the target's library runs on such a GPU; TensorRT itself says so only when it loads an engine."""
    named = dotted(compute_capability) in COMPUTE_CAPABILITIES
    return not LIBRARIES[target].ahead_of_time or named or _later(compute_capability)


def named(trt: Any) -> tuple[str, ...]:
    """Those of COMPUTE_CAPABILITIES that a release of TensorRT-RTX has names for: 1.4 has none for 12.1."""
    return tuple(c for c in COMPUTE_CAPABILITIES if hasattr(trt.ComputeCapability, enum_name(c)))


def enum_name(capability: str) -> str:
    """ "8.6" -> "SM86", as TensorRT-RTX calls it."""
    return f"SM{capability.replace('.', '')}"


def _nameable(target: str) -> tuple[str, ...]:
    """`named` of the installed release; all of them where none is installed, which is told when it is needed."""
    try:
        return named(load(target))
    except TargetUnavailableError:
        return COMPUTE_CAPABILITIES


def capabilities_for(target: str, compute_capability: tuple[int, int]) -> tuple[str, ...]:
    """What to compile for so that it runs on one GPU; empty where the library is not told."""
    if not LIBRARIES[target].ahead_of_time or dotted(compute_capability) not in _nameable(target):
        return ()
    return (dotted(compute_capability),)


def shared_capabilities(target: str, compute_capability: tuple[int, int]) -> tuple[str, ...] | None:
    """What to compile for so that it runs on one GPU, and on all others that the same kernels serve as well.

    As `check_compute_capabilities` takes it: None for a target that is not told.
    """
    if not LIBRARIES[target].ahead_of_time:
        return None
    mine = capabilities_for(target, compute_capability) or (ANY,)
    default = check_compute_capabilities(target, None)
    return default if mine[0] in default else mine


def _later(compute_capability: tuple[int, int]) -> bool:
    """Than those with names."""
    return compute_capability > max(tuple(map(int, name.split("."))) for name in COMPUTE_CAPABILITIES)


def dotted(compute_capability: tuple[int, int]) -> str:
    """(8, 6) -> "8.6"."""
    return ".".join(map(str, compute_capability))


def check_compute_capabilities(target: str, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """What to compile for: `asked`, or the default; ContractError when the target cannot.

    Args:
        target: "cpu", or a key of LIBRARIES.
        asked: some of COMPUTE_CAPABILITIES; ("any",) for all that there are and will be; None for the default.
    Returns:
        In ascending order; empty for a target that is not told, and for "any".
    """
    ahead = target in LIBRARIES and LIBRARIES[target].ahead_of_time
    if asked is None:
        return tuple(c for c in DEFAULT_COMPUTE_CAPABILITIES if c in _nameable(target)) if ahead else ()
    if not ahead:
        raise ContractError(
            f"--compute-capability {' '.join(asked)}: target {target!r} builds for the machine it runs on; leave it out"
        )
    if asked == (ANY,):
        return ()
    if unknown := [capability for capability in asked if capability not in COMPUTE_CAPABILITIES]:
        raise ContractError(
            f"--compute-capability {' '.join(unknown)}: expected some of {', '.join(COMPUTE_CAPABILITIES)}, or {ANY}"
        )
    if unnamed := [capability for capability in asked if capability not in _nameable(target)]:
        trt = load(target)
        raise ContractError(
            f"--compute-capability {' '.join(unnamed)}: {trt.__name__} {trt.__version__} does not know it, expected "
            f"some of {', '.join(named(trt))}, or {ANY}; update it with `pip install --upgrade tensorrt-rtx`"
        )
    return tuple(sorted(set(asked), key=COMPUTE_CAPABILITIES.index))


def check_served(target: str, properties: Properties) -> None:
    """TargetUnavailableError when the target's library does not run on this GPU, with what to do instead."""
    if not serves(target, properties.compute_capability):
        raise TargetUnavailableError(
            f"target {target!r}: {LIBRARIES[target].name} does not serve {properties.name} (compute capability "
            f"{dotted(properties.compute_capability)}), it serves {', '.join(COMPUTE_CAPABILITIES)}; "
            "build with --target tensorrt on this machine"
        )


def check_identity(manifest: Manifest, properties: Properties, version: str, where: Path) -> None:
    """BundleError when a bundle was built for another GPU or by another release than `version`.

    Asked before the engine's bytes reach the library: they hold native code.

    Args:
        manifest: the bundle's.
        properties: the GPU that is to run it.
        version: of the target's library on this machine.
        where: names the bundle in errors.
    """
    module = LIBRARIES[manifest.target].module
    if (built := manifest.tools.get(module)) != version:
        raise BundleError(
            f"{where}: built by {module} {built or 'unknown'}, this machine has {version}; engines do not cross "
            f"releases: rebuild it here with `puvae build --target {manifest.target}`"
        )
    mine, supported = dotted(properties.compute_capability), manifest.options.compute_capabilities
    if supported and mine not in supported:
        if serves(manifest.target, properties.compute_capability):
            capabilities = capabilities_for(manifest.target, properties.compute_capability) or (ANY,)
            remedy = f"`--compute-capability {capabilities[0]}`"
        else:
            remedy = f"`--target tensorrt` on this machine: {LIBRARIES[manifest.target].name} does not serve {mine}"
        raise BundleError(
            f"{where}: built for compute capabilities {', '.join(supported)}, this GPU ({properties.name}) has {mine}; "
            f"rebuild it with {remedy}"
        )
