"""TensorRT 8.5 and 8.6: the types of the ONNX file reach every layer, and what comes out otherwise is refused."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import layers
from export.precision import to_fp16
from puvae_rt.contract import ImageContract
from puvae_rt.errors import BuildError, TargetUnavailableError
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.gpu.tensorrt import library, weakly_typed
from puvae_rt.runtime.session import open_session
from tests.export.engine_graphs import engine_graph
from tests.export.toy import COLOR, GRAY
from tests.gpu import fake_tensorrt8
from tests.gpu.fake_tensorrt8 import DataType, FakeTensorrt8

API = json.loads((Path(__file__).parents[1] / "contracts/tensorrt.json").read_text())
MODELS = {
    "gray": {"contract": GRAY},
    "sampling, with the KL": {"contract": GRAY, "sigma": 0.1, "kl": 0.3},
    "normalized": {"contract": COLOR, "normalized": True},
}


def typed(precision: str, contract: ImageContract, **options: object) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    graph = engine_graph(contract, **options)  # type: ignore[arg-type]
    graph = to_fp16(graph) if precision == "fp16" else graph
    return graph.to_model().SerializeToString(), {tensor.name: tensor.shape[1:] for tensor in graph.inputs}  # type: ignore[misc]


@pytest.fixture
def tensorrt8(monkeypatch: pytest.MonkeyPatch) -> FakeTensorrt8:
    fake = FakeTensorrt8()
    monkeypatch.setattr(library, "load", lambda target: fake)
    return fake


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_layers_come_out_in_the_precision_of_the_model(tensorrt8: FakeTensorrt8, options, precision: str) -> None:
    model, shapes = typed(precision, **options)
    plan = trt.build_plan("tensorrt", model, (1, 8), shapes)
    assert plan.version == "8.5.3.1"
    found = layers.listed(plan)
    layers.check_precision(found, precision)
    if precision == "fp16":
        types = {value.name: value.type.tensor_type.elem_type for value in inferred(model)}
        listed = {tensor.name: tensor.type for layer in found for tensor in layer.outputs}
        told = {layer.get_output(0).name for layer in tensorrt8.layers if layer.precision is not None}
        for name in told & types.keys():
            assert listed[name] == {TensorProto.FLOAT16: "fp16", TensorProto.FLOAT: "fp32"}[types[name]], name
        assert {layer.type.name for layer in tensorrt8.layers if layer.precision is None} <= {
            "IDENTITY",
            "SHAPE",
            "CONSTANT",
        }
        assert {o.dtype for o in tensorrt8.outputs if o.name == "candidates"} == {DataType.HALF}
        assert {o.dtype for o in tensorrt8.outputs if o.name == "bias"} <= {DataType.FLOAT}
    else:
        assert tensorrt8.flags == set(), "no flag that allows anything narrower, and no TF32"
    assert tensorrt8.features == {"no cuDNN"}


def inferred(model: bytes) -> list[onnx.ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
    return [*graph.value_info, *graph.output]


def test_a_builder_that_does_not_obey_is_found_out(tensorrt8: FakeTensorrt8) -> None:
    tensorrt8.obedient = False
    model, shapes = typed("fp16", GRAY)
    plan = trt.build_plan("tensorrt", model, (1, 8), shapes)
    with pytest.raises(BuildError, match=r"asked for fp16, but .* layers came out otherwise"):
        layers.check_precision(layers.listed(plan), "fp16")


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_the_older_form_of_a_model_computes_the_same(options) -> None:
    model, shapes = typed("fp32", **options)
    older = weakly_typed.readable(model)
    assert onnx.load_model_from_string(older).opset_import[0].version == 17
    random = np.random.default_rng(0)
    feed = {name: random.random((2, *shape), np.float32) for name, shape in shapes.items()}
    results = [session.run(list(session.outputs), feed) for session in (open_session(m, 1) for m in (model, older))]
    for now, then in zip(*results, strict=True):
        np.testing.assert_array_equal(now, then)


def one_node(operator: str, opset: int, *inputs: onnx.TensorProto, **attributes: object) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 4)) for name in "xy")
    node = helper.make_node(
        operator, ["x", *(tensor.name for tensor in inputs)], ["y"], f"the {operator}", **attributes
    )
    graph = helper.make_graph([node], "one", [x], [y], inputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def test_axes_become_an_attribute_again() -> None:
    axes = numpy_helper.from_array(np.array([1]), "axes")
    older = weakly_typed.readable(one_node("ReduceMean", 18, axes, keepdims=1))
    (node,) = onnx.load_model_from_string(older).graph.node
    assert {a.name: helper.get_attribute_value(a) for a in node.attribute} == {"keepdims": 1, "axes": [1]}
    assert list(node.input) == ["x"]


def test_weights_that_are_stored_in_half_and_used_in_full_are_full() -> None:
    """Without the flag for FP16 a network may hold none."""
    half = numpy_helper.from_array(np.ones((4, 4), np.float16), "w.half")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 4)) for name in "xy")
    cast = helper.make_node("Cast", ["w.half"], ["w"], to=TensorProto.FLOAT)
    graph = helper.make_graph([cast, helper.make_node("MatMul", ["x", "w"], ["y"])], "one", [x], [y], [half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    folded = onnx.load_model_from_string(weakly_typed.readable(model)).graph
    assert [node.op_type for node in folded.node] == ["MatMul"]
    assert [(t.name, t.data_type) for t in folded.initializer] == [("w", TensorProto.FLOAT)]


def test_a_layer_with_an_integer_beside_its_numbers_is_told_too(tensorrt8: FakeTensorrt8) -> None:
    """As the choice of the likeliest classes: log probabilities in FP32, and where they are."""
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, ("n", 4))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT16, ("n", 2))
    count = numpy_helper.from_array(np.array([2]), "count")
    top = helper.make_node("TopK", ["image", "count"], ["values", "places"], "top")
    half = helper.make_node("Cast", ["values"], ["y"], "half", to=TensorProto.FLOAT16)
    graph = helper.make_graph([top, half], "one", [x], [y], [count])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    trt.build_plan("tensorrt", model, (1, 8), {"image": (4,)})
    layer = tensorrt8.layers[0]
    assert layer.precision is DataType.FLOAT and layer.output_types == {0: DataType.FLOAT}


def test_what_the_older_parser_reads_is_left_as_it_is() -> None:
    model = one_node("Relu", 17)
    assert weakly_typed.readable(model) is model


def test_an_operator_without_an_older_form_is_named() -> None:
    with pytest.raises(BuildError, match=r"Mish 'the Mish' of opset 18 has no form of opset 17.*TensorRT 10"):
        weakly_typed.readable(one_node("Mish", 18))


@pytest.mark.parametrize("release", [release for release in API if release.startswith("tensorrt 8.")])
def test_the_stand_in_has_tensorrts_names(release: str) -> None:
    api = API[release]["classes"]
    for name, member in vars(fake_tensorrt8.ILayer).items():
        if not name.startswith("_"):
            assert list(inspect.signature(member).parameters)[1:] in api["ILayer"][name]
    assert {"name", "type", "precision", "num_outputs"} <= api["ILayer"].keys()
    assert {member.name for member in FakeTensorrt8.BuilderFlag} <= api["BuilderFlag"].keys()
    assert {"set_preview_feature", "set_flag", "clear_flag"} <= api["IBuilderConfig"].keys()
    assert "STRONGLY_TYPED" not in api["NetworkDefinitionCreationFlag"]
    assert {member.name for member in DataType} <= api["DataType"].keys()
    assert "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805" in api["PreviewFeature"]


def test_later_releases_are_strongly_typed() -> None:
    for release, api in API.items():
        flags = SimpleNamespace(
            NetworkDefinitionCreationFlag=SimpleNamespace(**api["classes"]["NetworkDefinitionCreationFlag"])
        )
        assert weakly_typed.serves(flags) == release.startswith("tensorrt 8."), release


def test_a_release_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors by name came with 8.5."""
    old = SimpleNamespace(__version__="8.4.1.5", ICudaEngine=SimpleNamespace(num_bindings=2))
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(TargetUnavailableError, match=r"TensorRT 8\.4\.1\.5 is too old, expected 8\.5 or later"):
        library.load("tensorrt")
