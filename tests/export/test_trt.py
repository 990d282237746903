"""Engines built by the real TensorRT-RTX, for GPUs that are not here; its refusals; the absent TensorRT."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from export import layers
from export.precision import to_fp16
from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import BuildError, ContractError, TargetUnavailableError
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.gpu.tensorrt import build as build_module
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.graph.passes import apply, exact_passes
from puvae_rt.graph.reference import straightforward
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.models.spec import Ranks
from tests.export.engine_graphs import engine_graph
from tests.export.toy import COLOR, GRAY, random_weights

MOST_KERNELS = 12  # a frame, at batch 1


@pytest.fixture(scope="module", autouse=True)
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx")


def build(
    graph: Graph, batch: tuple[int, ...] = (1, 8), capabilities: tuple[str, ...] = ("8.6",)
) -> trt.SerializedEngine:
    shapes = {tensor.name: tensor.shape[1:] for tensor in graph.inputs}
    return trt.build_plan("rtx", graph.to_model().SerializeToString(), batch, shapes, capabilities)  # type: ignore[arg-type]


BUILDS = {
    "mnist-fp16": (GRAY, "fp16", (1, 8), ("8.6",)),
    "mnist-fp32-batch-1": (GRAY, "fp32", (1,), ("8.9",)),
    "color-fp16-all-by-default": (COLOR, "fp16", (1, 8), trt.DEFAULT_COMPUTE_CAPABILITIES),
}


@pytest.mark.parametrize("contract, precision, batch, capabilities", BUILDS.values(), ids=BUILDS)
def test_few_kernels_all_in_the_precision_asked(
    contract: ImageContract, precision: str, batch: tuple[int, ...], capabilities: tuple[str, ...]
) -> None:
    graph = engine_graph(contract)
    plan = build(to_fp16(graph) if precision == "fp16" else graph, batch, capabilities)
    layers.check_precision(layers.listed(plan), precision)
    assert layers.kernels(layers.listed(plan)) <= MOST_KERNELS
    assert sum(bool(layer.weights) for layer in layers.listed(plan)) >= 8
    assert {tensor.name for layer in layers.listed(plan) for tensor in layer.outputs} >= {"candidates"}
    assert len(plan.data) > 1_000_000
    other = "fp32" if precision == "fp16" else "fp16"
    with pytest.raises(BuildError, match=rf"asked for {other}"):
        layers.check_precision(layers.listed(plan), other)


def test_the_passes_for_gpus_save_kernels() -> None:
    weights = random_weights(GRAY, 10, Ranks(fc1=16, fc2=32), Score(0.1))
    straight = stop_at_candidates(straightforward(weights, dense=False), GRAY, weights.score, 10)
    exact = build(to_fp16(apply(straight, exact_passes(weights.score, 0.0))))
    assert layers.kernels(layers.listed(exact)) > MOST_KERNELS


def test_sampling_and_the_kl_build_too() -> None:
    plan = build(to_fp16(engine_graph(GRAY, sigma=0.1, kl=0.3)))
    layers.check_precision(layers.listed(plan), "fp16")
    assert {tensor.name for layer in layers.listed(plan) for tensor in layer.outputs} >= {"candidates", "bias"}


def test_normalised_contrast_costs_two_kernels() -> None:
    """Its statistics before the trunk, and the division; giving it back is part of the last kernel."""
    plan = build(to_fp16(engine_graph(COLOR, normalized=True)))
    assert layers.kernels(layers.listed(plan)) == layers.kernels(layers.listed(build(to_fp16(engine_graph(COLOR))))) + 2
    layers.check_precision(layers.listed(plan), "fp16")


def test_an_rtx_engine_allocates_nothing_while_it_runs(monkeypatch: pytest.MonkeyPatch, rtx: Any) -> None:
    """What allocates while it runs cannot be captured in a CUDA graph."""
    configured: list[bool] = []
    add_profile = build_module._add_profile

    def note(builder: Any, config: Any, *rest: Any) -> None:
        configured.append(config.get_flag(rtx.BuilderFlag.REQUIRE_USER_ALLOCATION))
        add_profile(builder, config, *rest)

    monkeypatch.setattr(build_module, "_add_profile", note)
    assert build(to_fp16(engine_graph(GRAY))).data
    assert configured == [True]


def test_turing_is_selectable() -> None:
    assert trt.check_compute_capabilities("rtx", ("8.6", "7.5", "8.6")) == ("7.5", "8.6")
    assert trt.check_compute_capabilities("rtx", ("any",)) == ()
    assert build(to_fp16(engine_graph(GRAY)), capabilities=("7.5",)).data


def test_a_refused_model_brings_the_compilers_words() -> None:
    graph = Graph([Tensor("image", np.float32, (BATCH, 1, 28, 28))], [Tensor("y", np.float32, (BATCH, 1, 28, 28))])
    graph.op("Det", ["image"], "y")
    model = graph_bytes(graph)
    with pytest.raises(BuildError, match=r"OnnxParser.parse failed: .*Det"):
        trt.build_plan("rtx", model, (1,), {"image": (1, 28, 28)}, ("8.6",))
    with pytest.raises(BuildError, match=r"OnnxParser.parse failed"):
        trt.build_plan("rtx", b"no model", (1,), {"image": (1, 28, 28)}, ("8.6",))


def graph_bytes(graph: Graph) -> bytes:
    """Without the checker, which would refuse it before TensorRT does."""
    from onnx import TensorProto, helper

    values = [
        helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)
        for tensor in (*graph.inputs, *graph.outputs)
    ]
    body = helper.make_graph(graph.nodes, "bad", values[:1], values[1:])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def test_a_profile_that_does_not_fit_is_refused() -> None:
    model = engine_graph(GRAY).to_model().SerializeToString()
    with pytest.raises(BuildError, match=r"The compiler said:\n.*image"):
        trt.build_plan("rtx", model, (1,), {"image": (1, 30, 30)}, ("8.6",))


def test_the_absent_library_says_what_to_install_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(TargetUnavailableError, match=r"'tensorrt'.*Jetson: JetPack.*DRIVE: .*DriveOS.*NVIDIA's index"):
        trt.load("tensorrt")


@pytest.mark.parametrize(
    "target, asked, message",
    [
        ("rtx", ("8.7",), r"--compute-capability 8.7: expected some of 7.5"),
        ("tensorrt", ("8.6",), r"builds for the machine it runs on"),
        ("cpu", ("8.6",), r"builds for the machine it runs on"),
    ],
)
def test_compute_capabilities_that_cannot_be_had(target: str, asked: tuple[str, ...], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        trt.check_compute_capabilities(target, asked)


def test_the_tensorrt_target_takes_the_same_path(monkeypatch: pytest.MonkeyPatch, rtx: Any) -> None:
    """With its sibling in its place it builds, and fails only where the list of layers needs a GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", rtx)
    model = engine_graph(GRAY).to_model().SerializeToString()
    try:
        plan = trt.build_plan("tensorrt", model, (1, 8), {"image": GRAY.shape})
    except BuildError as error:
        assert "deserialize_cuda_engine gave nothing" in str(error) and "CUDA driver" in str(error)
    else:  # on a machine with a GPU
        layers.check_precision(layers.listed(plan), "fp32")
