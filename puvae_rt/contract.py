"""Names and shapes that training, export and runtime agree on. Each is defined here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from puvae_rt.errors import ContractError

# Tensors of every graph.
IMAGE, NOISE = "image", "noise"
PURIFIED, LABEL, RMSE, SCORE = "purified", "label", "rmse", "score"
CANDIDATES, BIAS, LOGITS = "candidates", "bias", "logits"
CLASSES = "classes"  # [N,m] int32: which class each of the candidates is, where a prior chose m of them

# Files of a bundle.
MANIFEST_FILE = "manifest.json"
REFERENCE_FILE = "reference.onnx"
ENGINE_ONNX_FILE = "engine.onnx"
ENGINE_PLAN_FILE = "engine.plan"
ENGINE_PUVAE_FILE = "engine.puvae"
CLASSIFIER_FILE = "classifier.onnx"
SCHEMA = 1

NO_LABEL = -1  # of an image to which no class had a finite distance

# What a number is worth: got on the machine it speaks of, or where something stood in for that machine.
MEASURED, EMULATED = "measured", "emulated"

CHANNELS = (1, 3)
MAX_CLASSES = 1000
MIN_SHORTLIST = 2  # classes decoded of an image: one would leave nothing to choose

MAX_BATCH = 1024  # images per call that an engine is built for
MAX_SIDE = 4096  # pixels, of the images a model takes
MAX_NUMBER = 1e300  # of every number read from outside: sums of such numbers stay finite

# Of models and data sets: parts of file names.
NAME_RULE = "a name of up to 64 letters, digits, '.', '_' and '-', of which a letter or digit comes first"
NAME_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"


def is_name(text: str) -> bool:
    """Whether `text` is a name as NAME_RULE has it."""
    return re.search(NAME_PATTERN, text) is not None


@dataclass(frozen=True)
class ImageContract:
    """Shape of the images a model takes: [N, channels, height, width], and the range of their values."""

    channels: int
    height: int
    width: int
    range: tuple[Literal[0], Literal[1]] = field(default=(0, 1), kw_only=True)  # no other one is defined

    def __post_init__(self) -> None:
        if self.channels not in CHANNELS:
            raise ContractError(f"channels={self.channels}: expected one of {CHANNELS}")
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise ContractError(f"image size {self.height}x{self.width}: expected sides of 1 to {MAX_SIDE} pixels")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The sides of one image: (channels, height, width)."""
        return self.channels, self.height, self.width

    @property
    def pixels(self) -> int:
        """How many values one image has."""
        return self.channels * self.height * self.width


@dataclass(frozen=True)
class Score:
    """Selection score of the candidate of class k, of which the smallest wins.

    score_k = sum_i max(|x_i - x_hat_ki| - tau, 0)^2 + kl_weight * KL_k - prior_weight * c(x) * log p(k | x)

    c(x) is the squared scale of the image's contrast where a model normalizes it, and 1 elsewhere. With all three
    numbers 0 it orders as the paper's RMSE does.
    """

    tau: float = 0.0
    kl_weight: float = 0.0
    prior_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.tau < 1.0:
            raise ContractError(f"tau={self.tau}: expected 0 <= tau < 1 (a difference of pixel values)")
        if not 0.0 <= self.kl_weight <= MAX_NUMBER:
            raise ContractError(f"kl_weight={self.kl_weight}: expected a finite number >= 0")
        if not 0.0 <= self.prior_weight <= MAX_NUMBER:
            raise ContractError(f"prior_weight={self.prior_weight}: expected a finite number >= 0")

    @property
    def has_bias(self) -> bool:
        """Whether something is added to the distance: the KL term, or the prior's."""
        return self.kl_weight > 0 or self.prior_weight > 0
