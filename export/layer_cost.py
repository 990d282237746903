"""What each listed layer costs for one image: multiply-adds, and bytes to and from memory.

The compiler writes -1 for the batch, whatever it stands for: N images, 4N phases of them, or K*N candidates. Which it
is follows from the tensors whose entries are known, the engine's inputs and outputs, and from the layers: a tensor
holds as many numbers for its writer as for its reader, a layer that multiplies has as many rows in as out, and what
has five axes is [N,K,C,H,W]. Where that is not enough, a layer that moves numbers is taken to keep its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

from export.layers import Listed, ListedLayer
from puvae_rt.runtime.manifest import Layer

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1, "int32": 4, "int64": 8, "bool": 1}
_BATCH = -1
_CLASS_AXES = 5
Elements = dict[str, Fraction]  # numbers in a tensor for one image, by name


def costed(layers: Sequence[ListedLayer], known: Mapping[str, tuple[int | str, ...]]) -> tuple[Layer, ...]:
    """The manifest's layers with their costs.

    Where the sides do not tell everything, as in older inspectors, all costs are 0: unknown.

    Args:
        layers: as the compiler lists them.
        known: shapes of the engine's inputs and outputs, the batch first.
    """
    plain = tuple(layer.to_manifest() for layer in layers)
    elements: Elements = {name: Fraction(prod(int(side) for side in shape[1:])) for name, shape in known.items()}
    tensors = [tensor for layer in layers for tensor in (*layer.inputs, *layer.outputs)]
    elements |= {tensor.name: Fraction(_entry(tensor)) for tensor in tensors if len(tensor.sides) == _CLASS_AXES}
    _propagate(layers, elements)
    while _assume_rows(layers, elements):
        _propagate(layers, elements)
    if not {tensor.name for tensor in tensors} <= elements.keys():
        return plain
    return tuple(_with_cost(layer, entry, elements) for layer, entry in zip(layers, plain, strict=True))


def _propagate(layers: Sequence[ListedLayer], elements: Elements) -> None:
    """Sweep forward and backward until no further size can be inferred."""
    before = -1
    while len(elements) != before:
        before = len(elements)
        for layer in (*layers, *reversed(layers)):
            rows = _rows(layer, elements)
            if rows is not None and layer.weights:
                for tensor in (*layer.inputs, *layer.outputs):
                    elements.setdefault(tensor.name, rows * _entry(tensor))
            elif len(layer.inputs) == len(layer.outputs) == 1:
                _carry(layer.inputs[0], layer.outputs[0], elements)


def _assume_rows(layers: Sequence[ListedLayer], elements: Elements) -> bool:
    """Assume the rows of the first layer that still has a tensor of unknown size; returns whether there was one."""
    for layer in layers:
        rows = _rows(layer, elements)
        missing = [tensor for tensor in layer.outputs if tensor.name not in elements]
        if rows is not None and missing:
            elements.update({tensor.name: rows * _entry(tensor) for tensor in missing})
            return True
    return False


def _carry(a: Listed, b: Listed, elements: Elements) -> None:
    """Give a layer that only moves numbers as many out as in, if their entries are alike."""
    if _entry(a) == _entry(b):
        for one, other in ((a, b), (b, a)):
            if one.name in elements:
                elements.setdefault(other.name, elements[one.name])


def _rows(layer: ListedLayer, elements: Elements) -> Fraction | None:
    """What the layer's -1 stands for, for one image."""
    known = [tensor for tensor in (*layer.inputs, *layer.outputs) if tensor.name in elements]
    return elements[known[0].name] / _entry(known[0]) if known else None


def _entry(tensor: Listed) -> int:
    return prod(side for side in tensor.sides if side != _BATCH)


def _with_cost(layer: ListedLayer, entry: Layer, elements: Elements) -> Layer:
    tensors = sum(elements[t.name] * BYTES[t.type] for t in (*layer.inputs, *layer.outputs))
    weights = sum(prod(c.sides) * BYTES[c.type] for c in layer.constants)
    return replace(entry, macs=int(_macs(layer, elements)), tensor_bytes=int(tensors), weight_bytes=weights)


def _macs(layer: ListedLayer, elements: Elements) -> Fraction:
    """The multiply-adds: each number out (of a convolution), or in (of its transpose), meets one filter's weights."""
    matrices = [w.sides for w in layer.weights if len(w.sides) > 1 and sum(side > 1 for side in w.sides) > 1]
    if not matrices or not layer.outputs or not layer.inputs:
        return Fraction(0)
    sides = max(matrices, key=prod)  # the others are biases
    if len(sides) == 2:
        rows = _rows(layer, elements)
        return (rows or Fraction(0)) * prod(sides)
    transposed = layer.inputs[0].sides[1] == sides[0] and layer.outputs[0].sides[1] == sides[1] != sides[0]
    if transposed or layer.type == "deconv" or "Deco" in layer.name:
        return elements[layer.inputs[0].name] * prod(sides[1:])
    return elements[layer.outputs[0].name] * prod(sides[1:])
