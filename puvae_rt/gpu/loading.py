"""From verified files to engines on a device: TensorRT's on a GPU, ONNX Runtime in its place on the emulated device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from puvae_rt._moved import renamed
from puvae_rt.contract import ENGINE_ONNX_FILE, ENGINE_PLAN_FILE, IMAGE
from puvae_rt.device import Device, open_device
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import BundleError, ContractError, DeviceError
from puvae_rt.files import sha256_of
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.gpu.compiled import CompiledEngine
from puvae_rt.gpu.engines import Engines
from puvae_rt.gpu.stand_in import StandIn
from puvae_rt.gpu.tensorrt import library
from puvae_rt.runtime import cache, machine
from puvae_rt.runtime.bundle import HOST, Source
from puvae_rt.runtime.manifest import Manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """Engines on an open device.

    Attributes:
        engines: of the source.
        device: where they are.
        free: frees the engines, and the device if it was opened here; to be called once.
    """

    engines: Engines
    device: Device
    free: Callable[[], None]


def load_engines(source: Source, device: str | Device | None = None, threads: int | None = None) -> Loaded:
    """The engines of a verified source for a GPU target.

    Args:
        source: a bundle's engine.
        device: a name as `open_device` takes it, or an open device, which stays the caller's to close.
        threads: of ONNX Runtime on the emulated device; None is every processor.
    Raises:
        ContractError: the source is built for the CPU.
        TargetUnavailableError: this machine has no such library or device layer.
        BundleError: built for another GPU or release, or its engine is not the model's.
        DeviceError: no such GPU, or it refuses the engine.
    """
    if source.target in HOST:
        raise ContractError(
            f"{source.name!r}: built for the CPU, expected target 'rtx' or 'tensorrt'; give one, or use Purifier.load"
        )
    manifest = Manifest.read(source.engine.parent)
    with ExitStack() as made:
        on = made.enter_context(open_device(device)) if device is None or isinstance(device, str) else device
        purifier, classifier = _compiled(source, manifest, on, machine.thread_count(threads))
        engines = Engines(
            purifier, source.contract, len(source.classes), manifest.score, classifier, manifest.shortlist
        )
        made.callback(engines.close)
        return Loaded(engines, on, made.pop_all().close)


def _compiled(
    source: Source, manifest: Manifest, device: Device, threads: int
) -> tuple[CompiledEngine, CompiledEngine | None]:
    """The purifier's engine and its classifier's, or None."""
    device.activate()
    if isinstance(device, EmulatedDevice):
        batch = min(manifest.options.batch), max(manifest.options.batch)
        purifier = StandIn(device, _beside(source, manifest), batch, threads)
        classifier = source.classifier and StandIn(device, source.classifier, (1, batch[1]), threads)
        return purifier, classifier or None
    library.check_served(source.target, device.properties)
    version = library.load(source.target).__version__
    library.check_identity(manifest, device.properties, version, source.engine.parent)
    try:
        engine = trt.TrtEngine(source.target, source.engine.read_bytes(), source.engine, device.properties.name)
    except DeviceError:
        cache.forget(source.engine.parent)  # where it was built on demand
        raise
    if source.classifier is None:
        return engine, None
    return engine, _classifier(source, source.classifier, manifest, device, version)


def _beside(source: Source, manifest: Manifest) -> Path:
    """The ONNX file that the engine was built from."""
    if ENGINE_ONNX_FILE not in manifest.files:
        raise BundleError(f"{source.engine.parent}: no {ENGINE_ONNX_FILE}, which device='emulated' runs; rebuild it")
    return source.engine.parent / ENGINE_ONNX_FILE


def _classifier(source: Source, model: Path, manifest: Manifest, device: Device, version: str) -> CompiledEngine | None:
    """The classifier's engine, compiled on first use for this GPU and cached.

    Without a writable cache the classifier runs on the CPU behind the pipeline: the reason is logged.
    """
    capability = library.dotted(device.properties.compute_capability)
    batch = min(manifest.options.batch), max(manifest.options.batch)
    identity: cache.Identity = {
        "source_sha256": sha256_of(model),
        "target": source.target,
        "library": version,
        "build": library.BUILD,
        "compute_capability": capability,
        "gpu": device.properties.name,
        "batch": f"{batch[0]}-{batch[1]}",
    }

    def build(folder: Path) -> None:
        capabilities = library.capabilities_for(source.target, device.properties.compute_capability)
        shapes = {IMAGE: source.contract.shape}
        plan = trt.build_plan(source.target, model.read_bytes(), batch, shapes, capabilities)
        (folder / ENGINE_PLAN_FILE).write_bytes(plan.data)

    def opened(folder: Path) -> CompiledEngine:
        path = folder / ENGINE_PLAN_FILE
        return trt.TrtEngine(source.target, path.read_bytes(), path, device.properties.name)

    engine = cache.open_cached(f"classifier-{source.target}", identity, build, opened)
    if engine is None:
        logger.warning("the classifier %s runs on the CPU: its engine has no place to be kept", model)
    return engine


__getattr__ = renamed(__name__, {"open_gpu_engine": "puvae_rt.gpu.pool:open_gpu_engine"})
