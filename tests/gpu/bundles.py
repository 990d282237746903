"""Bundles for GPU targets that are small enough to check by hand: the toy purifier, ending in candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from puvae_rt.contract import (
    BIAS,
    CANDIDATES,
    CLASSES,
    CLASSIFIER_FILE,
    ENGINE_ONNX_FILE,
    ENGINE_PLAN_FILE,
    IMAGE,
    NOISE,
    ImageContract,
    Score,
)
from puvae_rt.files import sha256_of
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.manifest import Engine, Manifest, Options, Quality
from tests.runtime import toy

MODULES = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
BIASES = np.array([0.0, 3.0, 0.0, 0.0, 3.0], np.float32)  # of the score, when it weighs the KL


def save_engine(
    path: Path,
    contract: ImageContract,
    half: bool,
    sampling: bool,
    biased: bool,
    template: float,
    shortlist: int | None = None,
) -> None:
    """tests.runtime.toy's candidates, in FP16 or FP32, and constant biases; with a shortlist of those classes that the
    toy classifier finds likeliest."""
    graph = Graph([Tensor(IMAGE, np.float32, (BATCH, *contract.shape))])
    scaled = graph.op("Mul", [IMAGE, graph.constant("quarter", 0.25)], "scaled")
    single = graph.op("Unsqueeze", [scaled, graph.ints("axis", (1,))], "single")
    mixed = graph.op("Add", [single, graph.constant("t", template * 0.75 * toy.templates(contract)[None])], "mixed")
    if sampling:
        graph.inputs.append(Tensor(NOISE, np.float32, (BATCH, toy.CLASSES, LATENT)))
        drift = graph.op("ReduceSum", [NOISE, graph.ints("latent", (2,))], "drift", keepdims=1)
        small = graph.op("Div", [drift, graph.constant("thousand", 1000)], "small")
        mixed = graph.op("Add", [mixed, graph.op("Unsqueeze", [small, graph.ints("px", (3, 4))], "wide")], "moved")
    dtype = np.dtype(np.float16 if half else np.float32)
    graph.op("Cast", [mixed], CANDIDATES, to=helper.np_dtype_to_tensor_dtype(dtype))
    graph.outputs = [Tensor(CANDIDATES, dtype, (BATCH, toy.CLASSES, *contract.shape))]
    if biased:
        mean = graph.op("ReduceMean", [IMAGE, graph.ints("all", (1, 2, 3))], "mean", keepdims=0)  # [N]
        zero = graph.op("Mul", [graph.op("Unsqueeze", [mean, "axis"], "column"), graph.constant("zero", 0.0)], "zeros")
        graph.op("Add", [zero, graph.constant("biases", BIASES[None])], BIAS)
        graph.outputs.append(Tensor(BIAS, np.float32, (BATCH, toy.CLASSES)))
    if shortlist is not None:
        _keep_likeliest(graph, contract, shortlist)
    onnx.save(graph.to_model(), path)


def _keep_likeliest(graph: Graph, contract: ImageContract, count: int) -> None:
    """Every output [N,K,...] becomes [N,m,...], and `classes` [N,m] says of which classes."""
    flat = graph.op("Flatten", [IMAGE], "flat")
    ranked = graph.op("MatMul", [flat, graph.constant("weight", toy.classifier_weight(contract))], "ranked")
    offset = graph.constant("offset", toy.classifier_weight(contract).sum(axis=0) / 2)
    likely = graph.op("Sub", [ranked, offset], "likely")
    graph.op("TopK", [likely, graph.ints("count", (count,))], ["likeliest", "places"], axis=1)
    each = graph.op("Unsqueeze", ["places", graph.ints("each", (2,))], "places.each")
    for output in graph.outputs:
        whole = graph.rename(output.name, f"{output.name}.all")
        graph.op("GatherND", [whole, each], output.name, batch_dims=1)
    graph.outputs = [Tensor(t.name, t.dtype, (BATCH, count, *t.shape[2:])) for t in graph.outputs]
    graph.op("Cast", ["places"], CLASSES, to=helper.np_dtype_to_tensor_dtype(np.dtype(np.int32)))
    graph.outputs.append(Tensor(CLASSES, np.int32, (BATCH, count)))


def likeliest(images: np.ndarray, count: int, contract: ImageContract = toy.GRAY) -> np.ndarray:
    """The classes [N,m] that such an engine decodes."""
    return np.argsort(-toy.logits(images, contract), axis=1, kind="stable")[:, :count]


def save_gpu_bundle(
    folder: Path,
    contract: ImageContract = toy.GRAY,
    target: str = "rtx",
    half: bool = True,
    batch: tuple[int, ...] = (1, 8),
    sampling: bool = False,
    score: Score = Score(),
    classifier: bool = True,
    template: float = 1.0,
    version: str = "1.0",
    serialized: bool = False,
    shortlist: int | None = None,
) -> Path:
    """`serialized`: engine.plan is what fake_tensorrt.py loads, an ONNX file."""
    folder.mkdir(parents=True)
    save_engine(folder / ENGINE_ONNX_FILE, contract, half, sampling, score.kl_weight > 0, template, shortlist)
    plan = (folder / ENGINE_ONNX_FILE).read_bytes() if serialized else b"a serialized engine"
    (folder / ENGINE_PLAN_FILE).write_bytes(plan)
    if classifier:
        toy.save_classifier(folder / CLASSIFIER_FILE, contract, answer=None)
    Manifest(
        model="toy",
        classes=tuple("abcde"),
        contract=contract,
        score=score,
        target=target,
        precision="fp16" if half else "fp32",
        passes=(),
        sigma=0.1 if sampling else 0.0,
        files={path.name: sha256_of(path) for path in folder.iterdir()},
        source_sha256="0" * 64,
        tools={MODULES[target]: version},
        engine=Engine((), (), (), 0, 0, 0.0, "emulated"),
        options=Options(batch, ("8.9",) if target == "rtx" else (), True),
        quality=Quality({}, {}, {}, True, (), 1000, "0" * 64, "emulated"),
        shortlist=shortlist,
    ).write(folder)
    return folder
