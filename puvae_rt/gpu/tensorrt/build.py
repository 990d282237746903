"""A strongly typed ONNX model in, a serialized engine out: TensorRT and TensorRT-RTX through one code path.

TensorRT 8 knows no such networks: weakly_typed.py tells it the same types layer by layer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from puvae_rt.gpu.tensorrt import library, weakly_typed
from puvae_rt.gpu.tensorrt.log import BuildLog

LAYERS = "Layers:\n"  # how TensorRT-RTX's verbose log announces the list


@dataclass(frozen=True)
class SerializedEngine:
    """A serialized engine.

    Attributes:
        data: the engine.
        listing: its layers in the library's own words: the messages of a build log that begin with LAYERS
            (TensorRT-RTX), or the engine inspector's JSON (TensorRT).
        seconds: of the build.
        version: of the library.
    """

    data: bytes
    listing: tuple[str, ...]
    seconds: float
    version: str


def build_plan(
    target: str,
    model: bytes,
    batch: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
    compute_capabilities: tuple[str, ...] = (),
) -> SerializedEngine:
    """Compiles an ONNX model whose types are its precisions.

    Args:
        target: a key of LIBRARIES.
        model: a serialized ONNX model.
        batch: sizes of the free first axis; tuned for the smallest, valid from there to the largest.
        shapes: input name -> its shape without the batch.
        compute_capabilities: GPUs to compile for, "8.6"; only TensorRT-RTX takes them.
    Raises:
        TargetUnavailableError: the library is absent.
        BuildError: it refused the model, with its own log.
    """
    trt, log = library.load(target), BuildLog(LAYERS)
    start = time.perf_counter()
    logger = log.attach(trt)
    builder = log.require("Builder", trt.Builder(logger))
    network = log.require("create_network", builder.create_network(_creation_flags(trt)))
    parser = log.require("OnnxParser", trt.OnnxParser(network, logger))
    model = weakly_typed.readable(model) if weakly_typed.serves(trt) else model
    log.require_ok("OnnxParser.parse", parser.parse(model), _parser_errors(parser))
    config = log.require("create_builder_config", builder.create_builder_config())
    if weakly_typed.serves(trt):
        weakly_typed.constrain(trt, network, config, model)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 means FP32
    _forbid_allocation(trt, config)
    _set_compute_capabilities(trt, config, log, compute_capabilities)
    _add_profile(builder, config, log, batch, shapes)
    data = bytes(log.require("build_serialized_network", builder.build_serialized_network(network, config)))
    seconds = time.perf_counter() - start
    ahead = library.LIBRARIES[target].ahead_of_time  # there is no GPU to load the engine on: the list is in the log
    listing = tuple(log.listing) if ahead else (_inspected(trt, logger, log, data),)
    return SerializedEngine(data, listing, seconds, str(trt.__version__))


def _creation_flags(trt: Any) -> int:
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return weakly_typed.creation_flags(trt)
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # the number differs between versions


def _forbid_allocation(trt: Any, config: Any) -> None:
    """An engine of TensorRT-RTX may allocate while it runs, unless it is told not to: no graph can hold that."""
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


def _set_compute_capabilities(trt: Any, config: Any, log: BuildLog, capabilities: tuple[str, ...]) -> None:
    if not capabilities:
        return
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        value = getattr(trt.ComputeCapability, library.enum_name(capability))
        log.require_ok(f"set_compute_capability({capability})", config.set_compute_capability(value, index))


def _add_profile(
    builder: Any, config: Any, log: BuildLog, batch: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """One profile for all sizes. A single size gets a range as well: for a batch fixed at 1, TensorRT-RTX splits a
    fully connected layer into a product and a sum, one launch more."""
    low, high = min(batch), max(batch)
    profile = log.require("create_optimization_profile", builder.create_optimization_profile())
    for name, shape in shapes.items():
        profile.set_shape(name, (low, *shape), (low, *shape), (max(high, low + 1), *shape))
    log.require_ok("add_optimization_profile", config.add_optimization_profile(profile) >= 0, "the profile was refused")


def _inspected(trt: Any, logger: Any, log: BuildLog, data: bytes) -> str:
    """The engine inspector's JSON of an engine loaded on this machine's GPU."""
    runtime = log.require("Runtime", trt.Runtime(logger))
    engine = log.require("deserialize_cuda_engine", runtime.deserialize_cuda_engine(data))
    inspector = log.require("create_engine_inspector", engine.create_engine_inspector())
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _parser_errors(parser: Any) -> str:
    return "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
