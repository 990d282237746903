"""Writes engine.puvae, the file that libpuvae opens: a model's weights in FP32, and the layers that they belong to.

The layout is told in native/src/file.hpp, which checks every number of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from puvae_rt.models.checkpoint import Array
from puvae_rt.models.header import PRIOR_PREFIX
from puvae_rt.models.spec import CONTRAST_EPSILON, CONTRAST_SPAN, LATENT
from puvae_rt.models.weights import Weights

MAGIC, VERSION = b"PUVAE\r\n\x1a", 1
ALIGNMENT = 64
HEADER_BYTES, LAYER_BYTES = 88, 64
_CHECKED_FROM = 16  # the checksum covers what follows
_PURIFIER_NORMALIZED, _CLASSIFIER_NORMALIZED = 1, 2


class Part(IntEnum):
    """Where a layer belongs, in the order of the file."""

    TRUNK, FC1, FC1_TABLE, FC2, FC3, DECODER_FC, DECODER_TABLE, DECONVS, PRIOR, CLASSIFIER = range(10)


class Kind(IntEnum):
    """What a layer computes."""

    CONVOLUTION, LINEAR, TABLE, DECONVOLUTION = range(4)


class Layer(NamedTuple):
    """One layer: the weight in PyTorch's order, the bias if there is one, and whether a ReLU follows."""

    part: Part
    kind: Kind
    weight: Array
    bias: Array | None = None
    relu: bool = False
    stride: int = 1

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Inputs, outputs, and the kernel's height and width."""
        shape = self.weight.shape
        if self.kind == Kind.TABLE:
            return 1, shape[1], 1, 1
        outputs, inputs = shape[:2] if self.kind != Kind.DECONVOLUTION else shape[1::-1]
        height, width = shape[2:] or (1, 1)
        return inputs, outputs, height, width


class NativeClassifier(NamedTuple):
    """A classifier as libpuvae runs it."""

    layers: tuple[Layer, ...]
    normalized: bool


def engine_file(weights: Weights, classifier: NativeClassifier | None = None) -> bytes:
    """The contents of an engine.puvae.

    Args:
        weights: of a PuVAE, and of its prior if it chooses with one. The engine samples without noise.
        classifier: of the purified images, if the engine is to label them.
    """
    layers = [*model_layers(weights), *(classifier.layers if classifier else ())]
    names = b"".join(name.encode() + b"\0" for name in weights.classes)
    names_at = HEADER_BYTES + LAYER_BYTES * len(layers)
    blobs, end = bytearray(), _aligned(names_at + len(names))
    start, places = end, []
    for layer in layers:
        at = []
        for array in (layer.weight, layer.bias):
            if array is None:
                at.append(0)
                continue
            data = np.ascontiguousarray(array, "<f4").tobytes()
            at.append(end)
            blobs += data.ljust(_aligned(len(data)), b"\0")
            end = start + len(blobs)
        places.append(at)
    records = b"".join(_record(layer, *place) for layer, place in zip(layers, places, strict=True))
    header = _header(weights, classifier, len(layers), names_at, len(names), end)
    contents = (header + records + names).ljust(start, b"\0") + bytes(blobs)
    checksum = zlib.crc32(contents[_CHECKED_FROM:])
    return MAGIC + struct.pack("<II", VERSION, checksum) + contents[_CHECKED_FROM:]


def model_layers(weights: Weights) -> Iterator[Layer]:
    """Yield the layers of a PuVAE, and of its prior, in the order of the file."""
    tensors = weights.tensors
    for i in range(3):
        yield from _convolutions(weights, f"trunk.convs.{i}", Part.TRUNK)
    yield from _linears(weights, "fc1_image", Part.FC1, bias=False)
    labels = tensors["fc1_label.weight"].T + weights.bias("fc1_image")  # [K, HIDDEN]
    yield Layer(Part.FC1_TABLE, Kind.TABLE, labels)
    yield from _linears(weights, "fc2", Part.FC2, relu=True)
    outputs = slice(None if weights.score.kl_weight > 0 else LATENT)  # sigma is needed for the KL alone
    yield Layer(Part.FC3, Kind.LINEAR, weights.dense("fc3")[outputs], weights.bias("fc3")[outputs])
    matrix = weights.dense("decoder_fc")  # [cells, LATENT + K]
    yield Layer(Part.DECODER_FC, Kind.LINEAR, matrix[:, :LATENT])
    yield Layer(Part.DECODER_TABLE, Kind.TABLE, matrix[:, LATENT:].T + weights.bias("decoder_fc"))
    for i in range(3):
        name = f"deconvs.{i}"
        yield Layer(Part.DECONVS, Kind.DECONVOLUTION, weights.dense(name), weights.bias(name), i < 2, stride=2)
    yield from _prior(weights)


def _prior(weights: Weights) -> Iterator[Layer]:
    if weights.prior is None or (weights.score.prior_weight == 0 and weights.shortlist is None):
        return
    tensors = {name.removeprefix(PRIOR_PREFIX): value for name, value in weights.tensors.items()}
    for i, (_, stride) in enumerate(weights.prior.convs):
        weight, bias = tensors[f"convs.{i}.weight"], tensors[f"convs.{i}.bias"]
        yield Layer(Part.PRIOR, Kind.CONVOLUTION, weight, bias, relu=True, stride=stride)
    for name in ("hidden", "out"):
        yield Layer(Part.PRIOR, Kind.LINEAR, tensors[f"{name}.weight"], tensors[f"{name}.bias"], relu=name == "hidden")


def _convolutions(weights: Weights, name: str, part: Part) -> Iterator[Layer]:
    """One convolution with its ReLU, or the two of a factored one."""
    if f"{name}.weight" in weights.tensors:
        yield Layer(part, Kind.CONVOLUTION, weights.tensors[f"{name}.weight"], weights.bias(name), relu=True)
        return
    yield Layer(part, Kind.CONVOLUTION, weights.tensors[f"{name}.0.weight"])
    yield Layer(part, Kind.CONVOLUTION, weights.tensors[f"{name}.1.weight"], weights.bias(name), relu=True)


def _linears(weights: Weights, name: str, part: Part, bias: bool = True, relu: bool = False) -> Iterator[Layer]:
    """One linear layer, or the two of a factored one."""
    last = weights.bias(name) if bias else None
    if f"{name}.weight" in weights.tensors:
        yield Layer(part, Kind.LINEAR, weights.tensors[f"{name}.weight"], last, relu)
        return
    yield Layer(part, Kind.LINEAR, weights.tensors[f"{name}.0.weight"])
    yield Layer(part, Kind.LINEAR, weights.tensors[f"{name}.1.weight"], last, relu)


def _header(
    weights: Weights, classifier: NativeClassifier | None, layers: int, names_at: int, names_bytes: int, size: int
) -> bytes:
    contract, score, classes = weights.contract, weights.score, len(weights.classes)
    flags = _PURIFIER_NORMALIZED * weights.normalized
    flags |= _CLASSIFIER_NORMALIZED * (classifier is not None and classifier.normalized)
    return struct.pack(
        "<8sIIQIIIIIfffffQQII",
        MAGIC,
        VERSION,
        0,  # the checksum, put in when all else is there
        size,
        contract.channels,
        contract.height,
        classes,
        weights.shortlist or classes,
        flags,
        score.tau,
        score.kl_weight,
        score.prior_weight,
        CONTRAST_EPSILON,
        CONTRAST_SPAN,
        names_at,
        names_bytes,
        layers,
        0,
    )


def _record(layer: Layer, weight_at: int, bias_at: int) -> bytes:
    numbers = (layer.part, layer.kind, layer.relu, *layer.sides, layer.stride)
    return struct.pack("<8IQQ16x", *numbers, weight_at, bias_at)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """A name for each layer: its part, and its place where the part has several."""
    names = []
    for place, layer in enumerate(layers):
        alike = [i for i, other in enumerate(layers) if other.part == layer.part]
        name = layer.part.name.lower()
        names.append(name if len(alike) == 1 else f"{name}.{alike.index(place)}")
    return names
