"""Models of every kind, their engine.puvae, and what ONNX Runtime makes of the same weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from puvae_rt.contract import IMAGE, PURIFIED, RMSE, SCORE, ImageContract, Score
from puvae_rt.graph.cpu import cpu_model
from puvae_rt.models.spec import PriorLayers, Ranks
from puvae_rt.models.weights import Weights
from puvae_rt.native.binding import Library, NativeContext, NativeModel
from puvae_rt.native.engine_file import NativeClassifier, engine_file
from puvae_rt.runtime.session import open_session
from tests.export.toy import COLOR, GRAY, RANKING, random_weights

__all__ = ["COLOR", "GRAY", "Case", "open_context"]

DENSE, THIN, SHIPPED = Ranks(), Ranks(fc1=8), Ranks(fc1=48, fc2=96, trunk=32)
ODD = Ranks(fc1=29, fc2=13, trunk=19)  # nothing that fills a vector
EVERY = Score(tau=0.1, kl_weight=0.3, prior_weight=2.0)
WIDE_PRIOR = PriorLayers(((5, 2), (48, 1), (9, 2)), 33)


class Case(NamedTuple):
    """A random model."""

    name: str
    contract: ImageContract = GRAY
    classes: int = 3
    ranks: Ranks = THIN
    score: Score = Score()
    normalized: bool = False
    prior: PriorLayers | None = None
    shortlist: int | None = None

    def weights(self) -> Weights:
        """The same ones at each call."""
        return random_weights(
            self.contract, self.classes, self.ranks, self.score, 0, self.normalized, self.prior, self.shortlist
        )


CASES = (
    Case("thin"),
    Case("dense", ranks=DENSE),
    Case("two_classes", classes=2, ranks=SHIPPED),
    Case("as_shipped", classes=10, ranks=SHIPPED, score=Score(tau=0.3)),
    Case("thirteen", classes=13, ranks=ODD, score=Score(kl_weight=0.5)),
    Case("color", COLOR, 25, SHIPPED, Score(tau=0.01)),
    Case("color_odd", COLOR, 7, ODD, EVERY, True, WIDE_PRIOR),
    Case("signs", COLOR, 43, SHIPPED, Score(tau=0.01, prior_weight=3.0), True, RANKING, 2),
    Case("dense_color", COLOR, 5, DENSE, Score(tau=0.2), True),
    Case("listed", classes=11, ranks=SHIPPED, score=EVERY, prior=RANKING, shortlist=5),
    Case("thousand", classes=1000, ranks=SHIPPED, score=Score(prior_weight=1.0), prior=RANKING, shortlist=30),
)


class Answer(NamedTuple):
    """purified [N,C,H,W], projected [N], rmse and score [N,K]."""

    purified: np.ndarray
    projected: np.ndarray
    rmse: np.ndarray
    score: np.ndarray


def by_onnx(weights: Weights, images: np.ndarray) -> Answer:
    """What ONNX Runtime gives in FP32."""
    session = open_session(cpu_model(weights), 1)
    parts = [session.run((PURIFIED, "label", RMSE, SCORE), {IMAGE: image[None]}) for image in images]
    return Answer(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def by_library(context: NativeContext, images: np.ndarray) -> Answer:
    """The same by libpuvae."""
    parts = [context.run_image(image) for image in images]
    return Answer(*(np.stack([getattr(p, key) for p in parts]) for key in ("image", "projected", "rmse", "score")))


def open_context(
    library: Library, weights: Weights, instructions: int = 0, classifier: NativeClassifier | None = None
) -> NativeContext:
    """A context on the weights; its model is closed by the garbage collector, and goes on until then."""
    return NativeModel(library, engine_file(weights, classifier), instructions).context()


def random_images(contract: ImageContract, count: int, seed: int = 1) -> np.ndarray:
    """Images of smooth blobs and of noise, half each, [count,C,H,W]."""
    random = np.random.default_rng(seed)
    images = random.random((count, *contract.shape), dtype=np.float32)
    rows, columns = np.mgrid[: contract.height, : contract.width].astype(np.float32)
    for image in images[::2]:
        y, x, size = random.uniform((4, 4, 2), (24, 24, 8))
        image[:] = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / size**2)
    return images
