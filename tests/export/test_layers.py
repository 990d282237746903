"""Reading the compiler's list of layers: TensorRT-RTX's log, TensorRT's inspector, and what is held against it."""

from __future__ import annotations

import json

import pytest

from export.layers import Listed, ListedLayer, check_precision, from_inspector, from_log, kernels
from puvae_rt.errors import BuildError

SHAPES = (
    "Name: __mye1_0_myl0_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], "
    "TacticName: , StreamId: 0, Metadata: "
)
CONV = (
    "Name: trunk.0.conv_U6_myl0_2, LayerType: correlation, Inputs: [ { Name: x_myl0, Dimensions: [-1,2,14,14], "
    "Strides: [392,1,28,2], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], "
    "Constants: [ { Name: w_myl0, Dimensions: [32,2,7,7], Strides: [98,1,14,2], StrideOrder: [3,0,2,1], "
    "Datatype: Half, Format: (NHWC) Channel major format }, { Name: alpha, Dimensions: [1], Strides: [1], "
    "StrideOrder: [0], Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: y_myl0, "
    "Dimensions: [-1,32,14,14], Strides: [6272,1,448,32], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) "
    "Channel major format }], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: trunk.0.conv]"
)
LOG = ["Graph construction completed", f"Layers:\n{SHAPES}\n{CONV}\n\nI/O Tensors:\n Name: image, IOMode: Input"]


def test_the_build_log() -> None:
    shapes, conv = from_log(LOG)
    assert (shapes.type, conv.type, conv.precision) == ("shape_call", "correlation", "fp16")
    assert conv.inputs == (Listed("x_myl0", (-1, 2, 14, 14), "fp16"),)
    assert [tensor.name for tensor in conv.weights] == ["w_myl0"]  # a scalar factor is none
    assert kernels([shapes, conv]) == 1
    layer = conv.to_manifest()
    assert (layer.name, layer.inputs, layer.outputs) == ("trunk.0.conv_U6_myl0_2", ("x_myl0",), ("y_myl0",))


def test_the_inspector() -> None:
    entries = [
        {
            "Name": "conv",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "x", "Dimensions": [1, 2], "Format/Datatype": "Channel major FP16 format"}],
            "Outputs": [{"Name": "y", "Dimensions": [1, 2], "Datatype": "Half"}],
            "Weights": {"Type": "Half", "Count": 9},
            "Bias": {"Type": "Float", "Count": 0},
        }
    ]
    (conv,) = from_inspector(json.dumps({"Layers": entries, "Bindings": ["x", "y"]}))
    assert (conv.precision, conv.inputs[0].type, conv.outputs[0].type) == ("fp16", "fp16", "fp16")


UNREADABLE = {
    "no-list": ["nothing here"],
    "empty-list": ["Layers:\n\n"],
    "other-form": ["Layers:\nLayer(Conv): x -> y\n\n"],
}


@pytest.mark.parametrize("log", UNREADABLE.values(), ids=UNREADABLE)
def test_a_log_without_readable_layers_is_no_proof(log: list[str]) -> None:
    with pytest.raises(BuildError, match=r"listed no layers|in a form unknown here"):
        from_log(log)


@pytest.mark.parametrize("text", ["", "{}", '{"Layers": ["conv", "relu"]}', '{"Layers": []}', "[]"])
def test_an_inspector_without_readable_layers_is_no_proof(text: str) -> None:
    with pytest.raises(BuildError, match=r"listed no layers|in a form unknown here"):
        from_inspector(text)


def layer(weights: str, tensors: str = "", kind: str = "gemm") -> ListedLayer:
    outside = (Listed("x", (-1, 8), tensors or weights),)
    return ListedLayer("fc", kind, outside, (Listed("w", (8, 8), weights),) if weights else (), outside)


ACCEPTED = {
    "as-asked": (layer("fp16"), "fp16"),
    "fp32": (layer("fp32"), "fp32"),
    "fp32-latent-code": (layer("", "fp32", "kgen"), "fp16"),
}
REFUSED = {
    "weights-wider": (layer("fp32"), "fp16"),
    "weights-narrower": (layer("fp16"), "fp32"),
    "activations-narrower": (layer("fp32", "fp16"), "fp32"),
    "bf16": (layer("bf16"), "fp16"),
    "unknown": (layer("fp4"), "fp16"),
}


@pytest.mark.parametrize("listed, asked", ACCEPTED.values(), ids=ACCEPTED)
def test_precision_as_asked(listed: ListedLayer, asked: str) -> None:
    check_precision([layer(asked), listed], asked)


def test_layers_that_hide_their_weights_are_no_proof() -> None:
    """TensorRT 8 may fuse all of a model into one layer, of which its inspector tells inputs and outputs alone."""
    with pytest.raises(BuildError, match="none of 2 layers tells the type of its weights"):
        check_precision([layer("", "fp16", "Myelin"), layer("", "fp32", "kgen")], "fp16")


@pytest.mark.parametrize("listed, asked", REFUSED.values(), ids=REFUSED)
def test_another_precision_is_named(listed: ListedLayer, asked: str) -> None:
    with pytest.raises(BuildError, match=rf"asked for {asked}, but 1 layers came out otherwise: fc \("):
        check_precision([layer(asked), listed], asked)
