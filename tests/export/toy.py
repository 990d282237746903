"""PuVAE weights drawn at random, and graphs run in ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from puvae_rt.contract import IMAGE, NOISE, ImageContract, Score
from puvae_rt.graph.graph import Graph
from puvae_rt.models.spec import LATENT, PriorLayers, Ranks
from puvae_rt.models.weights import Weights, expected_shapes, prior_shapes
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.session import open_session

GRAY, COLOR = ImageContract(1, 28, 28), ImageContract(3, 32, 32)
THIN = Ranks(fc1=8)  # keeps the tests fast; what the shipped model has, in small
RANKING = PriorLayers(((4, 1), (8, 2), (8, 1)), 16)  # of a prior that ranks random images in many orders
Feeds = dict[str, np.ndarray]


def random_weights(
    contract: ImageContract = GRAY,
    classes: int = 3,
    ranks: Ranks = THIN,
    score: Score = Score(),
    seed: int = 0,
    normalized: bool = False,
    prior: PriorLayers | None = None,
    shortlist: int | None = None,
) -> Weights:
    """Scaled so that every layer keeps its input's variance: projections differ by class and are not saturated."""
    random = np.random.default_rng(seed)
    shapes = expected_shapes(contract, classes, ranks)
    if prior is not None:
        shapes = shapes | prior_shapes(contract, classes, prior)
    tensors = {
        name: random.standard_normal(shape, np.float32) * np.float32(_scale(name, shape))
        for name, shape in shapes.items()
    }
    names = tuple(f"class {i}" for i in range(classes))
    return Weights("toy", names, contract, score, ranks, tensors, "0" * 64, normalized, prior, shortlist)


def _scale(name: str, shape: tuple[int, ...]) -> float:
    if len(shape) == 1:
        return 0.1
    if name == "fc1_label.weight":
        return 1.0
    fan_in = shape[0] * 49 / 4 if name.startswith("deconvs") else np.prod(shape[1:])  # stride 2 in both directions
    return float(np.sqrt(2 / fan_in))


def header(weights: Weights, **changes: object) -> dict[str, str]:
    document = {
        "format": 1,
        "kind": "puvae",
        "model": weights.model,
        "classes": weights.classes,
        "contract": asdict(weights.contract),
        "score": asdict(weights.score),
        "ranks": weights.ranks._asdict(),
        "normalized": weights.normalized,
    }
    if weights.prior is not None:
        document |= {
            "score": asdict(replace(weights.score, prior_weight=0.0)),
            "prior": {
                "layers": asdict(weights.prior),
                "score": asdict(weights.score),
                "shortlist": weights.shortlist or len(weights.classes),
            },
        }
    return {"puvae": json.dumps(document | changes)}


def save_weights(path: Path, weights: Weights, **changes: object) -> Path:
    """As puvae_rt.train writes them; `changes` go into the header."""
    save_file(dict(weights.tensors), path, header(weights, **changes))
    return path


def feeds(weights: Weights, count: int, sigma: float = 0.0, seed: int = 1) -> Feeds:
    random = np.random.default_rng(seed)
    images = random.random((count, *weights.contract.shape), dtype=np.float32)
    if sigma == 0:
        return {IMAGE: images}
    return {IMAGE: images, NOISE: random.standard_normal((count, len(weights.classes), LATENT), dtype=np.float32)}


def head(given: Feeds, count: int) -> Feeds:
    return {name: value[:count] for name, value in given.items()}


def run(graph: Graph, given: Feeds) -> dict[str, np.ndarray]:
    model = graph.to_model().SerializeToString()
    session = open_session(model, available_cpus())
    names = tuple(session.outputs)
    return dict(zip(names, session.run(names, given), strict=True))
