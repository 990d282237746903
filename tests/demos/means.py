"""A purifier of digits that needs no training: candidate k is the mean image of class k, chosen with a dead zone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from demos.play.defense import DIGITS
from demos.play.synthetic import Samples
from puvae_rt.contract import CANDIDATES, CLASSIFIER_FILE, ENGINE_ONNX_FILE, IMAGE, LOGITS, Score
from puvae_rt.files import sha256_of
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.graph.selection import add_selection
from tests.runtime import toy

CLASSES = 10
_RIDGE = 20.0


def save_bundle(folder: Path, samples: Samples) -> Path:
    """The purifier with a linear classifier, fitted to the samples."""
    toy.save_bundle(folder)
    _save_purifier(folder / ENGINE_ONNX_FILE, samples)
    _save_classifier(folder / CLASSIFIER_FILE, samples)
    names = (ENGINE_ONNX_FILE, CLASSIFIER_FILE)
    toy.edit_manifest(
        folder,
        model="means",
        classes=list("0123456789"),
        files={name: sha256_of(folder / name) for name in names},
    )
    return folder


def _save_purifier(path: Path, samples: Samples) -> None:
    means = np.stack([samples.images[samples.labels == k].mean(axis=0) / 255 for k in range(CLASSES)])
    graph = Graph([Tensor(IMAGE, np.float32, (BATCH, *DIGITS.shape))])
    single = graph.op("Unsqueeze", [IMAGE, graph.ints("axis", (1,))], "single")
    nothing = graph.op("Mul", [single, graph.constant("zero", 0.0)], "nothing")
    graph.op("Add", [nothing, graph.constant("means", means[None])], CANDIDATES)
    add_selection(graph, DIGITS, Score(tau=0.3), CLASSES)
    onnx.save(graph.to_model(), path)


def _save_classifier(path: Path, samples: Samples) -> None:
    """Ridge regression on one-hot labels."""
    pixels = np.concatenate(
        [samples.images.reshape(len(samples.labels), -1) / 255, np.ones((len(samples.labels), 1))], 1
    )
    gram = pixels.T @ pixels + _RIDGE * np.eye(pixels.shape[1])
    weights = np.linalg.solve(gram, pixels.T @ np.eye(CLASSES)[samples.labels])  # [785,K]
    graph = Graph([Tensor(IMAGE, np.float32, (BATCH, *DIGITS.shape))], [Tensor(LOGITS, np.float32, (BATCH, CLASSES))])
    flat = graph.op("Flatten", [IMAGE], "flat")
    graph.op("Gemm", [flat, graph.constant("weight", weights[:-1]), graph.constant("bias", weights[-1])], LOGITS)
    onnx.save(graph.to_model(), path)
