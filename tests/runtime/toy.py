"""A purifier small enough to check by hand: candidate k is a quarter of the image plus three quarters of template k."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx

from puvae_rt.contract import (
    CANDIDATES,
    CLASSIFIER_FILE,
    ENGINE_ONNX_FILE,
    IMAGE,
    LOGITS,
    NOISE,
    ImageContract,
    Score,
)
from puvae_rt.files import sha256_of
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.graph.selection import add_selection
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.manifest import Engine, Manifest, Options, Quality
from puvae_rt.schema import seal

GRAY, COLOR = ImageContract(1, 28, 28), ImageContract(3, 32, 32)
CLASSES = 5


def templates(contract: ImageContract = GRAY, classes: int = CLASSES) -> np.ndarray:
    """[K,C,H,W] in [0,1], far from each other."""
    return np.random.default_rng(7).random((classes, *contract.shape), dtype=np.float32)


def candidates(images: np.ndarray, contract: ImageContract = GRAY, noise: np.ndarray | None = None) -> np.ndarray:
    """What the toy graph computes, in NumPy: [N,K,C,H,W]."""
    mixed = 0.25 * images[:, None] + 0.75 * templates(contract)[None]
    return mixed if noise is None else mixed + noise.sum(axis=2)[:, :, None, None, None] / 1000


def save_purifier(path: Path, contract: ImageContract = GRAY, sampling: bool = False, template: float = 1.0) -> None:
    graph = Graph([Tensor(IMAGE, np.float32, (BATCH, *contract.shape))])
    scaled = graph.op("Mul", [IMAGE, graph.constant("quarter", 0.25)], "scaled")
    single = graph.op("Unsqueeze", [scaled, graph.ints("axis", (1,))], "single")
    spread = graph.constant("templates", template * 0.75 * templates(contract)[None])
    if sampling:
        graph.inputs.append(Tensor(NOISE, np.float32, (BATCH, CLASSES, LATENT)))
        mixed = graph.op("Add", [single, spread], "mixed")
        drift = graph.op("ReduceSum", [NOISE, graph.ints("latent", (2,))], "drift", keepdims=1)
        small = graph.op("Div", [drift, graph.constant("thousand", 1000)], "small")
        wide = graph.op("Unsqueeze", [small, graph.ints("pixels", (3, 4))], "wide")
        graph.op("Add", [mixed, wide], CANDIDATES)
    else:
        graph.op("Add", [single, spread], CANDIDATES)
    add_selection(graph, contract, Score(), CLASSES)
    onnx.save(graph.to_model(), path)


def logits(images: np.ndarray, contract: ImageContract = GRAY) -> np.ndarray:
    """What the toy classifier that has no fixed answer computes, in NumPy: [N,K], another class for other images."""
    weight = classifier_weight(contract)
    return images.reshape(len(images), -1) @ weight - weight.sum(axis=0) / 2


def classifier_weight(contract: ImageContract) -> np.ndarray:
    """[D,K]."""
    return np.random.default_rng(11).standard_normal((contract.pixels, CLASSES), np.float32)


def save_classifier(path: Path, contract: ImageContract = GRAY, answer: int | None = 3) -> None:
    """`logits` of the image, and with an `answer` so much more for that class that it is the one whatever the image."""
    weight = classifier_weight(contract)
    bias = -weight.sum(axis=0) / 2
    if answer is not None:
        bias[answer] += 1e4
    graph = Graph([Tensor(IMAGE, np.float32, (BATCH, *contract.shape))], [Tensor(LOGITS, np.float32, (BATCH, CLASSES))])
    flat = graph.op("Flatten", [IMAGE], "flat")
    graph.op("Gemm", [flat, graph.constant("weight", weight), graph.constant("bias", bias)], LOGITS)
    onnx.save(graph.to_model(), path)


def save_bundle(
    folder: Path,
    contract: ImageContract = GRAY,
    sampling: bool = False,
    classifier: bool = True,
    target: str = "cpu",
    quality: bool | None = True,
    template: float = 1.0,
) -> Path:
    """A complete bundle of the toy purifier; `quality` is the gate's verdict, None when it was skipped."""
    folder.mkdir(parents=True)
    engine = folder / (ENGINE_ONNX_FILE if target == "cpu" else "engine.plan")
    save_purifier(engine, contract, sampling, template)
    if classifier:
        save_classifier(folder / CLASSIFIER_FILE, contract)
    files = {path.name: sha256_of(path) for path in folder.iterdir()}
    report = None if quality is None else _quality(quality)
    Manifest(
        model="toy",
        classes=tuple("abcde"),
        contract=contract,
        score=Score(),
        target=target,
        precision="fp32",
        passes=(),
        sigma=0.1 if sampling else 0.0,
        files=files,
        source_sha256="0" * 64,
        tools={},
        engine=Engine((), (), (), 0, 0, 0.0, "measured"),
        options=Options((1, 8), (), quality is not None),
        quality=report,
    ).write(folder)
    return folder


def edit_manifest(folder: Path, **changes: object) -> None:
    """Writes the manifest anew with other values, and with the hash that fits them."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(seal({**json.loads(path.read_text()), **changes})))


def _quality(passed: bool) -> Quality:
    failures = () if passed else ("accuracy/clean is 0.5, limit 0.9",)
    return Quality({}, {}, {}, passed, failures, 1000, "0" * 64, "measured")
