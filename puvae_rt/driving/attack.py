"""Attacks on the classifier through every sign of a frame at once, in the form in which a camera would deliver them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from puvae_rt.attacks import onnx_attack
from puvae_rt.attacks.onnx_attack import OnnxGradient
from puvae_rt.errors import ContractError
from puvae_rt.runtime.results import Floats, Ints

EPSILON = 0.06  # the color models' radius in results/
PATCH_SIDE = 8  # of a sign's 32 pixels: a sixteenth of it
PATCH_STEPS = 40
_PATCH_STEP = 0.1
_EXACT = 1e-3  # of a level: float32 misses whole levels by less
ATTACKS = ("fgsm", "ifgsm", "patch")


def patch(model: OnnxGradient, images: Floats, targets: Ints, places: Ints, side: int = PATCH_SIDE) -> Floats:
    """The images with a square sticker each, whose pixels are free in [0,1], to be mistaken for `targets`.

    Brown et al. 2017, for each image as in Karmon et al. 2018; `PATCH_STEPS` steps along the gradient's sign.

    Args:
        model: the classifier.
        images: float32 [N,C,H,W] in [0,1].
        targets: [N], the classes to be mistaken for.
        places: [N,2], row and column of each sticker's upper left corner.
        side: of the sticker in pixels.
    Raises:
        ContractError: a sticker that does not lie inside its image.
    """
    height, width = images.shape[2:]
    if side < 1 or (places < 0).any() or (places + side > [height, width]).any():
        raise ContractError(f"patches of {side} pixels at {places.tolist()}: expected all inside {height}x{width}")
    inside = np.zeros_like(images)
    for each, (row, column) in zip(inside, places, strict=True):
        each[:, row : row + side, column : column + side] = 1
    attacked = np.where(inside > 0, np.float32(0.5), images)
    for _ in range(PATCH_STEPS):
        _, gradient = model(attacked, targets)
        attacked = np.clip(attacked - np.float32(_PATCH_STEP) * np.sign(gradient) * inside, 0, 1)
    return np.asarray(attacked, np.float32)


class SignAttack:
    """White-box and targeted: each sign is to be mistaken for a random wrong class, drawn anew from a seeded generator.

    Raises:
        ContractError: no such attack, or an epsilon out of its range.
    """

    def __init__(self, name: str, classifier: Path, epsilon: float = EPSILON, seed: int = 0, threads: int = 1) -> None:
        if name not in ATTACKS:
            raise ContractError(f"attack: got {name!r}, expected one of {', '.join(ATTACKS)}")
        if not 0 < epsilon <= 1:
            raise ContractError(f"epsilon={epsilon:g}: expected 0 < epsilon <= 1 (pixels are in [0,1])")
        self.name, self.epsilon = name, epsilon
        self._gradient = OnnxGradient(classifier, threads)
        self._random = np.random.default_rng(seed)

    def __call__(self, images: Floats, labels: Ints) -> Floats:
        """float32 [N,C,H,W] in [0,1], of whole levels -> the same, to be mistaken for other classes than `labels`."""
        others = self._random.integers(self._gradient.classes - 1, size=len(labels))
        targets = others + (others >= labels)
        if self.name == "patch":
            places = self._random.integers(np.array(images.shape[2:]) - PATCH_SIDE + 1, size=(len(images), 2))
            return _levels(patch(self._gradient, images, targets, places), images)
        run: Callable[..., Floats] = onnx_attack.ATTACKS[self.name]
        return _levels(run(self._gradient, images, targets, self.epsilon, targeted=True), images)


def _levels(attacked: Floats, images: Floats) -> Floats:
    """Whole levels, rounded towards the image, so that no change becomes larger."""
    change = 255 * (attacked - images)
    levels = np.rint(255 * images) + np.trunc(change + np.copysign(_EXACT, change))
    return np.asarray(levels / np.float32(255), np.float32)
