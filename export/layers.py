"""A compiler's own list of an engine's layers after fusion: the proof of its precision and of its launches a frame."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, NamedTuple

from puvae_rt.errors import BuildError
from puvae_rt.gpu.tensorrt.build import LAYERS, SerializedEngine
from puvae_rt.runtime.manifest import Layer

# Types that compute shapes on the host or order other layers: they launch nothing.
NOT_KERNELS = {"shape_call", "signal", "wait", "noop", "constant"}
_TYPES = {"half": "fp16", "float": "fp32", "bfloat16": "bf16"}  # the compiler's names for ours; others are alike
_KNOWN = {*_TYPES, *_TYPES.values(), "int8", "fp8", "int32", "int64", "bool"}
_LINE = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<type>\w+), Inputs: \[(?P<inputs>.*)\], "
    r"Constants: \[(?P<constants>.*)\], Outputs: \[(?P<outputs>.*)\], TacticName:"
)
_TENSOR = re.compile(r"\{ Name: (?P<name>[^,]+), Dimensions: \[(?P<sides>[-\d,]*)\].*?Datatype: (?P<type>\w+)")


class Listed(NamedTuple):
    """A tensor of a listed layer."""

    name: str
    sides: tuple[int, ...]  # -1 is the batch
    type: str  # fp16, fp32, ...


class ListedLayer(NamedTuple):
    """A layer of an engine as its compiler lists it."""

    name: str
    type: str
    inputs: tuple[Listed, ...]
    constants: tuple[Listed, ...]
    outputs: tuple[Listed, ...]

    @property
    def weights(self) -> tuple[Listed, ...]:
        """The constants that are more than a scalar factor."""
        return tuple(constant for constant in self.constants if abs(prod(constant.sides)) > 1)

    @property
    def precision(self) -> str:
        """What the layer computes in: the type of its weights, or else of what it writes."""
        types = sorted({tensor.type for tensor in self.weights or self.outputs})
        return "+".join(types) if types else "none"

    def to_manifest(self) -> Layer:
        """The layer as the manifest lists it, without its costs."""
        inputs, outputs = (tuple(t.name for t in tensors) for tensors in (self.inputs, self.outputs))
        return Layer(self.name, self.type, self.precision, inputs, outputs)


def listed(plan: SerializedEngine) -> tuple[ListedLayer, ...]:
    """The layers of a built engine; BuildError when it lists none, or in a form unknown here."""
    inspected = any(text.lstrip().startswith("{") for text in plan.listing)
    return tuple(from_inspector(plan.listing[0]) if inspected else from_log(plan.listing))


def from_log(messages: Iterable[str]) -> list[ListedLayer]:
    """The layers in a verbose build log (TensorRT-RTX); BuildError when it lists none, or in a form unknown here."""
    blocks = [message[len(LAYERS) :] for message in messages if message.startswith(LAYERS)]
    lines = [line for block in blocks for line in block.split("\n\n")[0].splitlines() if line]
    return nonempty([_from_line(line) for line in lines])


def from_inspector(text: str) -> list[ListedLayer]:
    """The layers in the engine inspector's JSON (TensorRT)."""
    try:
        entries = json.loads(text)["Layers"]
        return nonempty([_from_entry(entry) for entry in entries])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(
            f"engine inspector: layers in a form unknown here ({error!r}); this TensorRT is not supported"
        ) from error


def kernels(layers: Iterable[ListedLayer]) -> int:
    """How many of the layers launch work in a run."""
    return sum(layer.type.lower() not in NOT_KERNELS for layer in layers)


def check_precision(layers: Iterable[ListedLayer], asked: str) -> None:
    """Raise BuildError, which names the layers, when weights are of another type than asked, or none are told.

    In FP32 nothing may be narrower; in FP16 the layers without weights round the latent code are FP32 on purpose
    (`export.precision`).
    """
    layers = list(layers)
    if asked != "fp32" and not any(layer.weights for layer in layers):
        raise BuildError(
            f"asked for {asked}, but none of {len(layers)} layers tells the type of its weights, which is no proof; "
            "build with --precision fp32 or another version of the compiler"
        )
    wrong = [layer for layer in layers if not _as_asked(layer, asked)]
    if wrong:
        listed = ", ".join(f"{layer.name} ({layer.precision})" for layer in wrong[:5])
        raise BuildError(
            f"asked for {asked}, but {len(wrong)} layers came out otherwise: {listed}; "
            "build with another --precision or another version of the compiler"
        )


def _as_asked(layer: ListedLayer, asked: str) -> bool:
    weights = {tensor.type for tensor in layer.weights}
    if asked == "fp32":
        return {t.type for t in (*layer.inputs, *layer.weights, *layer.outputs)}.isdisjoint({"fp16", "bf16", "fp8"})
    return weights <= {asked}


def nonempty(layers: list[ListedLayer]) -> list[ListedLayer]:
    """The layers; BuildError when there are none."""
    if not layers:
        raise BuildError("the compiler listed no layers, so the precision cannot be attested; expected a verbose build")
    return layers


def _from_line(line: str) -> ListedLayer:
    match = _LINE.match(line)
    if match is None:
        raise BuildError(f"build log: layer {line[:80]!r} in a form unknown here; this version is not supported")
    tensors = (tuple(_tensor(m) for m in _TENSOR.finditer(match[key])) for key in ("inputs", "constants", "outputs"))
    return ListedLayer(match["name"], match["type"], *tensors)


def _tensor(match: re.Match[str]) -> Listed:
    sides = tuple(int(side) for side in match["sides"].split(",") if side)
    return Listed(match["name"], sides, _type(match["type"]))


def _from_entry(entry: Mapping[str, Any]) -> ListedLayer:
    inputs, constants, outputs = (
        tuple(_described(tensor) for tensor in entry.get(key, ())) for key in ("Inputs", "Constants", "Outputs")
    )
    weights = entry.get("Weights") or {}
    if int(weights.get("Count", 0)) > 0:
        constants += (Listed("weights", (int(weights["Count"]),), _type(weights["Type"])),)
    return ListedLayer(entry["Name"], entry["LayerType"], inputs, constants, outputs)


def _described(tensor: Mapping[str, Any]) -> Listed:
    """A tensor of the inspector's; newer versions name its type on its own, older ones inside that of the format."""
    text = tensor.get("Datatype") or tensor["Format/Datatype"]
    words = [word for word in re.findall(r"\w+", text) if word.lower() in _KNOWN]
    return Listed(tensor["Name"], tuple(tensor.get("Dimensions", ())), _type(words[0] if words else text))


def _type(text: str) -> str:
    return _TYPES.get(text.lower(), text.lower())
