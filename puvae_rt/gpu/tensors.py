"""The pipeline's tensors: what each holds for an image, and whether an engine's are the model's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from puvae_rt.contract import (
    BIAS,
    CANDIDATES,
    CLASSES,
    IMAGE,
    LOGITS,
    NOISE,
    PURIFIED,
    RMSE,
    SCORE,
    ImageContract,
    Score,
)
from puvae_rt.errors import BundleError
from puvae_rt.gpu.compiled import CompiledEngine
from puvae_rt.gpu.memory import Field
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.manifest import TensorSpec

INDEX, FLAGS = "index", "flags"
F16, F32 = np.dtype(np.float16), np.dtype(np.float32)
I32, I64 = np.dtype(np.int32), np.dtype(np.int64)

Shapes = Mapping[str, tuple[int, ...]]


def input_fields(contract: ImageContract, classes: int, noise: bool) -> tuple[Field, ...]:
    """What a batch brings: `image` [C,H,W], and `noise` [K,32] where the engine samples."""
    return (Field(IMAGE, F32, contract.shape), *([Field(NOISE, F32, (classes, LATENT))] if noise else []))


def output_fields(contract: ImageContract, classes: int, classifier: bool) -> tuple[Field, ...]:
    """What a batch gives, each an entry an image: see `GpuPipeline.enqueue`."""
    return (
        Field(PURIFIED, F32, contract.shape),
        Field(INDEX, I64, ()),
        Field(RMSE, F32, (classes,)),
        Field(SCORE, F32, (classes,)),
        Field(FLAGS, I32, ()),
        *([Field(LOGITS, F32, (classes,))] if classifier else []),
    )


def check_signature(
    engine: CompiledEngine,
    contract: ImageContract,
    classes: int,
    score: Score,
    classifier: CompiledEngine | None,
    shortlist: int | None = None,
) -> None:
    """BundleError when the engines' tensors are not those of the model, of which `shortlist` classes are decoded."""
    signature = engine.signature
    inputs: dict[str, tuple[int, ...]] = {IMAGE: contract.shape}
    decoded = classes if shortlist is None else shortlist
    outputs: dict[str, tuple[int, ...]] = {CANDIDATES: (decoded, *contract.shape)}
    if NOISE in signature.inputs:
        inputs[NOISE] = (classes, LATENT)
    if score.has_bias:
        outputs[BIAS] = (decoded,)
    if shortlist is not None:
        outputs[CLASSES] = (decoded,)
    _check_shapes(signature.inputs, inputs, "engine's inputs")
    _check_shapes(signature.outputs, outputs, "engine's outputs")
    allowed = {CANDIDATES: (F32, F16), CLASSES: (I32,)}
    for name in (*inputs, *outputs):
        types = allowed.get(name, (F32,))
        if signature.dtype(name) not in types:
            raise BundleError(f"engine: {name} is {signature.dtype(name)}, expected {types[0]}; rebuild the bundle")
    if classifier is not None:
        _check_shapes(classifier.signature.inputs, {IMAGE: contract.shape}, "classifier's inputs")
        _check_shapes(classifier.signature.outputs, {LOGITS: (classes,)}, "classifier's outputs")


def _check_shapes(got: Mapping[str, TensorSpec], expected: Shapes, what: str) -> None:
    """Without the batch; a side that the engine leaves open fits."""
    shapes = {name: tuple(spec.shape[1:]) for name, spec in got.items()}
    if shapes.keys() != expected.keys() or not all(_fits(shapes[name], expected[name]) for name in expected):
        raise BundleError(f"{what}: got {shapes}, expected {dict(expected)}; rebuild the bundle")


def _fits(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(got) == len(expected) and all(g in (-1, e) for g, e in zip(got, expected, strict=True))
