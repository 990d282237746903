"""Engines by target: what a purifier runs on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import onnxruntime as ort

from puvae_rt._moved import renamed
from puvae_rt.contract import ENGINE_ONNX_FILE
from puvae_rt.errors import ContractError
from puvae_rt.graph import code_digest
from puvae_rt.models.weights import WEIGHTS_SUFFIX, load_weights
from puvae_rt.runtime import cache, machine
from puvae_rt.runtime.bundle import HOST, NATIVE, Source
from puvae_rt.runtime.cpu import OrtEngine
from puvae_rt.runtime.machine import Threads
from puvae_rt.runtime.preprocess import Bytes, Roi
from puvae_rt.runtime.results import Floats, Ints, Purified
from puvae_rt.runtime.session import write_optimized
from puvae_rt.version import __version__

if TYPE_CHECKING:
    from puvae_rt.device import Device

logger = logging.getLogger(__name__)


class Labeled(Protocol):
    """Purified frames and their labels."""

    @property
    def purified(self) -> Purified:
        """The projections, and the distances that decided."""

    @property
    def labels(self) -> Ints:
        """int64 [N]: a classifier's, or the projections' classes."""

    @property
    def replayed(self) -> bool | None:
        """Whether the call was one replay of a CUDA graph; None on a CPU."""


class Engine(Protocol):
    """A compiled purifier. `run` may be called from several threads at once."""

    @property
    def takes_noise(self) -> bool:
        """Whether it samples: built with sigma > 0."""

    def run(self, images: Floats, noise: Floats | None = None) -> Purified:
        """float32 [N,C,H,W] in [0,1], and float32 [N,K,32] standard normal when it samples."""

    def close(self) -> None:
        """Frees what it holds, once the calls under way are through; a second time is allowed."""


@runtime_checkable
class FrameEngine(Engine, Protocol):
    """An engine that takes camera frames itself, from the region to the label."""

    @property
    def classifies(self) -> bool:
        """Whether its labels are a classifier's."""

    @property
    def obstacles(self) -> dict[str, str]:
        """Shape of call -> why it is not replayed as one CUDA graph."""

    def run_frame(self, frame: Bytes, roi: Roi) -> Labeled:
        """One region of a checked frame, BGR or gray."""


def open_engine(source: Source, threads: Threads, device: str | Device | None = None) -> Engine:
    """The engine of a verified source; TargetUnavailableError when this machine cannot run its target."""
    if source.target in HOST:
        if device is not None:
            raise ContractError(
                f"device {device!r} with target {source.target!r}: leave it out, or load target='rtx' or 'tensorrt'"
            )
        return _native_engine(source, threads) if source.target == NATIVE else _cpu_engine(source, threads)
    from puvae_rt.gpu.pool import open_gpu_engine  # a CPU user needs none of it

    return open_gpu_engine(source, device, threads.frame)


def _native_engine(source: Source, threads: Threads) -> Engine:
    """libpuvae, with one thread for each image; ONNX Runtime where there is none."""
    from puvae_rt.runtime import native  # loads the library

    engine = native.open_native(source, threads.frame * threads.batch)
    return engine if engine is not None else _cpu_engine(native.stand_in(source), threads)


def _cpu_engine(source: Source, threads: Threads) -> Engine:
    """The source's graph as ONNX Runtime optimised it for this processor: out of the cache, or built into it."""

    def engine(model: Path | bytes, optimized: bool) -> Engine:
        classes, at_once = len(source.classes), threads.batch
        return OrtEngine(model, source.contract, classes, threads.frame, at_once=at_once, optimized=optimized)

    cached = cache.open_cached(
        f"{source.name}-{source.target}",
        {**cpu_identity(source), "threads": threads.frame},
        lambda new: write_optimized(graph_of(source), threads.frame, new / ENGINE_ONNX_FILE),
        lambda folder: engine(folder / ENGINE_ONNX_FILE, optimized=True),
    )
    return cached or engine(graph_of(source), optimized=False)


def graph_of(source: Source) -> Path | bytes:
    """The graph to run: the source's file, or what is made of its weights."""
    if not _is_weights(source):
        return source.engine
    from puvae_rt.graph.cpu import cpu_model  # imports onnx, which an engine out of the cache does without

    return cpu_model(load_weights(source.engine, source.choice.with_prior, source.choice.shortlist))


def _is_weights(source: Source) -> bool:
    return source.engine.suffix == WEIGHTS_SUFFIX


def cpu_identity(source: Source) -> cache.Identity:
    """What a source's engine on this machine depends on, but for its threads."""
    identity: dict[str, str | int] = {
        "source_sha256": source.sha256,
        "target": source.target,
        "onnxruntime": ort.__version__,
        "puvae_rt": __version__,
        "cpu": machine.cpu_model(),
        "cpu_flags": machine.cpu_flags_digest(),
        "options": "optimization=all",
    }
    if _is_weights(source):
        identity |= {"graph": code_digest(), "prior": source.choice.prior, "shortlist": source.choice.shortlist or 0}
    return identity


__getattr__ = renamed(__name__, {"open_session": "puvae_rt.runtime.session:open_session"})
