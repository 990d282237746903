"""From a graph to the engine's files: precision, compilation, attestation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export import layers
from export.cost import weight_bytes
from export.layer_cost import costed
from export.ort_layers import from_onnx
from export.precision import to_fp16
from export.prepare import Build
from export.settings import FP16, FP32
from puvae_rt.contract import ENGINE_ONNX_FILE, ENGINE_PLAN_FILE, ENGINE_PUVAE_FILE
from puvae_rt.files import temporary_folder
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.graph.graph import Graph, Tensor
from puvae_rt.graph.onnx_file import write_onnx
from puvae_rt.graph.plan import CPU, NATIVE
from puvae_rt.native.engine_file import engine_file, layer_names, model_layers
from puvae_rt.onnx_io import read_onnx
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Engine, Layer, TensorSpec
from puvae_rt.runtime.session import write_optimized


@dataclass(frozen=True)
class Compiled:
    """What the manifest says of the engine, and of the tools that made it."""

    engine: Engine
    tools: dict[str, str]


def compile_engine(build: Build, folder: Path) -> Compiled:
    """Writes engine.onnx (cpu), engine.puvae and the engine.onnx that stands in for it (native), or engine.plan and the
    engine.onnx it was made of, into `folder`.

    Raises:
        BuildError: refused by the compiler, or a layer came out in another precision than asked.
        TargetUnavailableError: the target's library is absent.
    """
    typed = to_fp16(build.graph) if build.settings.precision == FP16 else build.graph
    write_onnx(folder / ENGINE_ONNX_FILE, typed, build.description)
    return _MAKERS.get(build.settings.target, _by_tensorrt)(build, typed, folder)


def _by_tensorrt(build: Build, graph: Graph, folder: Path) -> Compiled:
    asked = build.settings
    shapes = {tensor.name: tuple(int(side) for side in tensor.shape[1:]) for tensor in graph.inputs}
    model = (folder / ENGINE_ONNX_FILE).read_bytes()
    plan = trt.build_plan(asked.target, model, asked.batch, shapes, asked.capabilities)
    compiled = layers.listed(plan)
    layers.check_precision(compiled, asked.precision)
    (folder / ENGINE_PLAN_FILE).write_bytes(plan.data)
    listed = costed(compiled, {tensor.name: tensor.shape for tensor in (*graph.inputs, *graph.outputs)})
    library = trt.LIBRARIES[asked.target]
    engine = _engine(graph, listed, layers.kernels(compiled), plan.seconds, f"built by {library.name}")
    return Compiled(engine, {library.module: plan.version})


def _on_cpu(build: Build, graph: Graph, folder: Path) -> Compiled:
    """The graph itself: ONNX Runtime compiles it for the processor it runs on. Listed as compiled on this one."""
    start = time.perf_counter()
    with temporary_folder() as scratch:
        path = scratch / "optimized.onnx"
        write_optimized(folder / ENGINE_ONNX_FILE, available_cpus(), path)
        compiled = from_onnx(read_onnx(path, check=False))
    seconds = time.perf_counter() - start
    layers.check_precision(compiled, build.settings.precision)
    listed = tuple(layer.to_manifest() for layer in compiled)
    return Compiled(_engine(graph, listed, len(listed), seconds, "compiled by ONNX Runtime"), {})


def _native(build: Build, graph: Graph, folder: Path) -> Compiled:
    """The weights and layers that libpuvae takes, and the classifier's where it can run it."""
    start = time.perf_counter()
    weights, classifier = build.source.weights, build.native_classifier
    assert weights is not None  # `prepare` has refused a model without
    (folder / ENGINE_PUVAE_FILE).write_bytes(engine_file(weights, classifier))
    kept = [*model_layers(weights), *(classifier.layers if classifier else ())]
    listed = [
        Layer(name, layer.kind.name.lower(), FP32, (), (), weight_bytes=4 * layer.weight.size)
        for name, layer in zip(layer_names(kept), kept, strict=True)
    ]
    seconds = time.perf_counter() - start
    return Compiled(_engine(graph, listed, len(listed), seconds, "written for libpuvae"), {})


_MAKERS: dict[str, Callable[[Build, Graph, Path], Compiled]] = {CPU: _on_cpu, NATIVE: _native}


def _engine(graph: Graph, listed: Sequence[Layer], kernels: int, seconds: float, evidence: str) -> Engine:
    inputs, outputs = (tuple(map(_spec, tensors)) for tensors in (graph.inputs, graph.outputs))
    return Engine(inputs, outputs, tuple(listed), kernels, weight_bytes(graph), seconds, evidence)


def _spec(tensor: Tensor) -> TensorSpec:
    shape = tuple(-1 if isinstance(side, str) else side for side in tensor.shape)
    return TensorSpec(tensor.name, np.dtype(tensor.dtype).name, shape)
