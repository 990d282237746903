"""Trained classifiers A to D as ONNX: `image` [N,C,H,W] in [0,1] -> `logits` [N,K]. No PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import TensorProto

from puvae_rt.contract import IMAGE, LOGITS, ImageContract
from puvae_rt.errors import BuildError
from puvae_rt.files import read_bytes
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.models.checkpoint import Array, Shapes, read_checkpoint, stored_shapes
from puvae_rt.models.header import CLASSIFIER, FORMAT, META_KEY, ClassifierHeader
from puvae_rt.models.spec import ARCHITECTURES, CONTRAST_EPSILON
from puvae_rt.onnx_io import MAX_ONNX_BYTES, external_files, load, read_onnx
from puvae_rt.runtime.assets import ShippedModel
from puvae_rt.runtime.cpu import Classifier

NO_CLASSIFIER = "none"
MAX_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class ClassifierWeights:
    """A classifier's trained weights, and what they were trained for.

    Attributes:
        model: the model's name, of its data set.
        classes: class names, K of them.
        contract: the images' shape.
        architecture: a key of ARCHITECTURES.
        tensors: the parameters, "<position in the Sequential>.weight" and ".bias"; of a layer that `thin_classifier`
            factored, ".0.weight" [rank, features], ".1.weight" [units, rank] and ".1.bias".
        normalized: whether contrast is normalized in front of the first layer.
    """

    model: str
    classes: tuple[str, ...]
    contract: ImageContract
    architecture: str
    tensors: Mapping[str, Array]
    normalized: bool = False


def load_classifier(path: Path) -> ClassifierWeights:
    """The weights in a .safetensors file, whose layers may be thin; BuildError when it is absent, damaged, or holds no
    classifier."""
    stored = stored_shapes(path)
    header, tensors = read_checkpoint(path, ClassifierHeader, lambda header: _thinned(expected_shapes(header), stored))
    return ClassifierWeights(**(vars(header) | {"tensors": tensors}))


def classifier_graph(weights: ClassifierWeights, half: bool = False) -> Graph:
    """The layers in evaluation mode, where dropout vanishes.

    Args:
        weights: of a classifier.
        half: store weights in FP16, cast to FP32; biases stay. ONNX Runtime and TensorRT fold the casts.
    Raises:
        BuildError: a weight is too large for FP16.
    """
    contract, classes = weights.contract, len(weights.classes)
    graph = Graph([Tensor(IMAGE, np.float32, (BATCH, *contract.shape))])
    graph.outputs = [Tensor(LOGITS, np.float32, (BATCH, classes))]
    convs, linears = layer_positions(weights.architecture)
    at = IMAGE
    if weights.normalized:
        ones, zeros = (
            graph.constant(f"contrast.{name}", np.full(contract.channels, value))
            for name, value in (("scale", 1), ("shift", 0))
        )
        at = graph.op("InstanceNormalization", [at, ones, zeros], "contrast", epsilon=CONTRAST_EPSILON)
    for position, conv in zip(convs, ARCHITECTURES[weights.architecture].convs, strict=True):
        inputs = [at, *_parameters(graph, position, weights, half)]
        pads, strides = [conv.kernel // 2] * 4, [conv.stride] * 2
        linear = graph.op("Conv", inputs, f"conv{position}", kernel_shape=[conv.kernel] * 2, pads=pads, strides=strides)
        at = graph.op("Relu", [linear], f"relu{position}")
    at = graph.op("Flatten", [at], "features")
    for position in linears[:-1]:
        linear = _linear(graph, at, position, weights, half, linear_output(position))
        at = graph.op("Relu", [linear], f"relu{position}")
    _linear(graph, at, linears[-1], weights, half, LOGITS)
    return graph


def linear_output(position: int) -> str:
    """The name of what a hidden fully connected layer makes, before its ReLU."""
    return f"linear{position}"


def classifier_model(weights: ClassifierWeights, half: bool = False) -> bytes:
    """The graph as a serialized ONNX model that says whose it is; `half` as in `classifier_graph`."""
    document = {
        "format": FORMAT,
        "kind": CLASSIFIER,
        "model": weights.model,
        "classes": weights.classes,
        "architecture": weights.architecture,
    }
    graph = classifier_graph(weights, half)
    model: bytes = graph.to_model({META_KEY: json.dumps(document, sort_keys=True)}).SerializeToString()
    return model


def write_classifier(path: Path, weights: ClassifierWeights, half: bool = False) -> None:
    """Writes `classifier_model` to an .onnx file."""
    path.write_bytes(classifier_model(weights, half))


def expected_shapes(weights: ClassifierWeights | ClassifierHeader) -> Shapes:
    """The shape of every tensor of a classifier, by its name."""
    architecture = ARCHITECTURES[weights.architecture]
    convs, linears = layer_positions(weights.architecture)
    channels, side = weights.contract.channels, weights.contract.height
    shapes: Shapes = {}
    for position, conv in zip(convs, architecture.convs, strict=True):
        shapes[f"{position}.weight"] = (conv.channels, channels, conv.kernel, conv.kernel)
        shapes[f"{position}.bias"] = (conv.channels,)
        channels, side = conv.channels, -(-side // conv.stride)
    features = channels * side * side
    outputs = [units for units, _ in architecture.hidden] + [len(weights.classes)]
    for position, units in zip(linears, outputs, strict=True):
        shapes |= {f"{position}.weight": (units, features), f"{position}.bias": (units,)}
        features = units
    return shapes


def _thinned(expected: Shapes, stored: Shapes) -> Shapes:
    """The shapes of a classifier's tensors where the layers of which `stored` has a first thin one are factored."""
    shapes = dict(expected)
    for layer in [name.removesuffix(".weight") for name, shape in expected.items() if len(shape) == 2]:
        first = stored.get(f"{layer}.0.weight", ())
        units, features = expected[f"{layer}.weight"]
        if len(first) == 2 and 0 < first[0] < min(units, features):
            del shapes[f"{layer}.weight"], shapes[f"{layer}.bias"]
            shapes |= {f"{layer}.0.weight": (first[0], features)}
            shapes |= {f"{layer}.1.weight": (units, first[0]), f"{layer}.1.bias": (units,)}
    return shapes


def layer_positions(architecture: str) -> tuple[list[int], list[int]]:
    """The positions of convolutions and fully connected layers in the Sequential.

    It is (conv, relu)*, dropout, flatten, (linear, relu, dropout)*, linear.
    """
    convs, hidden = len(ARCHITECTURES[architecture].convs), len(ARCHITECTURES[architecture].hidden)
    first = 2 * convs + 2
    return [2 * i for i in range(convs)], [first + 3 * i for i in range(hidden + 1)]


def _linear(graph: Graph, at: str, position: int, weights: ClassifierWeights, half: bool, output: str) -> str:
    """One product, or the two of a factored layer."""
    if f"{position}.weight" in weights.tensors:
        return graph.op("Gemm", [at, *_parameters(graph, position, weights, half)], output, transB=1)
    thin = graph.op("Gemm", [at, _weight(graph, f"{position}.0.weight", weights, half)], f"thin{position}", transB=1)
    return graph.op("Gemm", [thin, *_parameters(graph, f"{position}.1", weights, half)], output, transB=1)


def _parameters(graph: Graph, layer: int | str, weights: ClassifierWeights, half: bool) -> list[str]:
    bias = f"{layer}.bias"
    return [_weight(graph, f"{layer}.weight", weights, half), graph.constant(bias, weights.tensors[bias])]


def _weight(graph: Graph, name: str, weights: ClassifierWeights, half: bool) -> str:
    """The constant `name`; with `half` in FP16, cast to FP32."""
    if not half:
        return graph.constant(name, weights.tensors[name])
    if (largest := float(np.abs(weights.tensors[name]).max())) > MAX_HALF:
        raise BuildError(f"{name}: a weight of {largest:g}, expected at most {MAX_HALF:g} in FP16; leave out --half")
    stored = graph.constant(name, weights.tensors[name], np.float16)
    return graph.op("Cast", [stored], f"{name}.fp32", to=TensorProto.FLOAT)


@dataclass(frozen=True)
class ChosenClassifier:
    """A bundle's classifier as one file, with the name by which the user knows it."""

    name: str
    model: bytes

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """An .onnx file of it, by its own name, that is there for as long as the context is."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{Path(self.name).stem}.onnx"
            path.write_bytes(self.model)
            yield path

    def opened(self, contract: ImageContract, classes: int, threads: int) -> Classifier:
        """The classifier in a session; BundleError when it takes other images or has other classes."""
        return Classifier(self.model, contract, classes, threads, name=self.name)


def choose_classifier(
    choice: str | None, shipped: ShippedModel | None, contract: ImageContract, classes: int
) -> ChosenClassifier | None:
    """The classifier that a bundle gets, checked; None where it gets none.

    Args:
        choice: "none", a shipped classifier's name, an .onnx or a .safetensors; None is the shipped model's default,
            and none for other models. An .onnx may keep its weights in a file beside it.
        shipped: the shipped model that the bundle is built of, if it is one.
        contract: the images that it has to take.
        classes: how many it has to tell apart.
    Raises:
        BuildError: there is no such file, or it is damaged.
        BundleError: no such shipped classifier, or it takes other images or has other classes.
    """
    if choice == NO_CLASSIFIER or (choice is None and shipped is None):
        return None
    path = Path(choice or "")
    if path.suffix == ".safetensors":
        model = classifier_model(load_classifier(path))
    elif path.suffix == ".onnx":
        if not path.is_file():
            raise BuildError(f"--classifier {path}: no such file; give an .onnx, a .safetensors or a shipped name")
        model = _in_one_file(path)
    elif shipped is None:
        raise BuildError(f"--classifier {choice}: only a shipped model has classifiers by name; give a file")
    else:
        path = shipped.classifier(choice)
        model = path.read_bytes()
    chosen = ChosenClassifier(str(path), model)
    chosen.opened(contract, classes, threads=1)
    return chosen


def _in_one_file(path: Path) -> bytes:
    """The file's own bytes, or where it keeps weights in another file, the model with them in it."""
    remedy = "export the classifier again, as one file"
    data = read_bytes(path, MAX_ONNX_BYTES)
    if not external_files(load(path, remedy=remedy)):
        return data
    model: bytes = read_onnx(path, remedy=remedy, one_file=False, check=False).SerializeToString()
    return model
