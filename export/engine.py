"""From a graph to the engine's files: precision, compilation, attestation."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from export import layers
from export.cost import weight_bytes
from export.layer_cost import costed
from export.precision import to_fp16
from puvae_rt.contract import ENGINE_ONNX_FILE, ENGINE_PLAN_FILE
from puvae_rt.errors import BuildError
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.graph.cpu import for_cpu
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import Graph, Tensor
from puvae_rt.graph.onnx_file import write_onnx
from puvae_rt.graph.passes.cpu import CPU as CPU_PASSES
from puvae_rt.graph.passes.gpu import apply_gpu, gpu_passes
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.runtime.bundle import CPU
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Engine, Layer, TensorSpec
from puvae_rt.runtime.session import open_session

FP32, FP16 = "fp32", "fp16"


@dataclass(frozen=True)
class Compiled:
    """What the manifest says of the engine."""

    engine: Engine
    passes: tuple[str, ...]  # all that were applied, those for GPUs included
    tools: dict[str, str]


def compile_engine(
    folder: Path,
    graph: Graph,
    description: Description,
    target: str,
    precision: str,
    batch: tuple[int, ...],
    compute_capabilities: tuple[str, ...],
) -> Compiled:
    """Writes engine.onnx (cpu), or engine.plan and the engine.onnx it was made of, into `folder`.

    Raises:
        BuildError: refused by the compiler, or a layer came out in another precision than asked.
        TargetUnavailableError: the target's library is absent.
    """
    if target == CPU:
        return _for_cpu(folder, graph, description, precision)
    if any(name in description.passes for name in CPU_PASSES):
        raise BuildError(
            f"--target {target}: the .onnx was made for the CPU; give the reference.onnx of its bundle, the checkpoint "
            "or a shipped model's name"
        )
    ending = stop_at_candidates(graph, description.contract, description.score, len(description.classes))
    extra = gpu_passes(description.score, description.sigma) if description.passes else ()
    reshaped = apply_gpu(ending, extra)
    typed = to_fp16(reshaped) if precision == FP16 else reshaped
    passes = (*description.passes, *extra)
    write_onnx(folder / ENGINE_ONNX_FILE, typed, replace(description, passes=passes))
    shapes = {tensor.name: tuple(int(side) for side in tensor.shape[1:]) for tensor in typed.inputs}
    model = (folder / ENGINE_ONNX_FILE).read_bytes()
    plan = trt.build_plan(target, model, batch, shapes, compute_capabilities)
    compiled = layers.listed(plan)
    layers.check_precision(compiled, precision)
    (folder / ENGINE_PLAN_FILE).write_bytes(plan.data)
    listed = costed(compiled, {tensor.name: tensor.shape for tensor in (*typed.inputs, *typed.outputs)})
    library = trt.LIBRARIES[target]
    engine = _engine(typed, listed, layers.kernels(compiled), plan.seconds, f"built by {library.name}")
    return Compiled(engine, passes, {library.module: plan.version})


def check_target(target: str, precision: str) -> None:
    """BuildError for what a target cannot do, before anything is built."""
    if target == CPU and precision != FP32:
        raise BuildError(
            f"--precision {precision} with --target cpu: ONNX Runtime would compute in FP32 behind casts on a CPU; "
            "build --precision fp32, or --target rtx"
        )
    if target != CPU:
        trt.load(target)


def _for_cpu(folder: Path, graph: Graph, description: Description, precision: str) -> Compiled:
    """The graph itself: ONNX Runtime compiles it for the processor it runs on. Listed as compiled on this one."""
    start = time.perf_counter()
    graph, description = for_cpu(graph, description)
    graph.prune()
    write_onnx(folder / ENGINE_ONNX_FILE, graph, description)
    listed = _optimized_layers(folder / ENGINE_ONNX_FILE, precision)
    engine = _engine(graph, listed, len(listed), time.perf_counter() - start, "compiled by ONNX Runtime")
    return Compiled(engine, description.passes, {})


def _optimized_layers(model: Path, precision: str) -> tuple[Layer, ...]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "optimized.onnx"
        open_session(model, available_cpus(), save_optimized=path)
        graph = onnx.load(str(path)).graph
    constants = {tensor.name for tensor in graph.initializer}
    return tuple(
        Layer(
            name=node.name,
            type=node.op_type,
            precision=precision,
            inputs=tuple(name for name in node.input if name and name not in constants),
            outputs=tuple(node.output),
        )
        for node in graph.node
    )


def _engine(graph: Graph, listed: tuple[Layer, ...], kernels: int, seconds: float, evidence: str) -> Engine:
    inputs, outputs = (tuple(map(_spec, tensors)) for tensors in (graph.inputs, graph.outputs))
    return Engine(inputs, outputs, listed, kernels, weight_bytes(graph), seconds, evidence)


def _spec(tensor: Tensor) -> TensorSpec:
    shape = tuple(-1 if isinstance(side, str) else side for side in tensor.shape)
    return TensorSpec(tensor.name, np.dtype(tensor.dtype).name, shape)
