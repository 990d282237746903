"""What happens to one digit: attacked, purified, classified before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demos.play.digits import SIDE
from puvae_rt.attacks.constants import EPSILON
from puvae_rt.attacks.onnx_attack import OnnxGradient, fgsm, ifgsm
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.runtime.purifier import Purifier, Stopwatch
from puvae_rt.runtime.results import NO_LABEL, Floats

ATTACKS = {"fgsm": fgsm, "ifgsm": ifgsm}
NO_ATTACK = "none"
DIGITS = ImageContract(1, SIDE, SIDE)


@dataclass(frozen=True)
class Stage:
    """An image [1,28,28] in [0,1] with the class that the classifier sees in it; -1 is none."""

    image: Floats
    label: int


@dataclass(frozen=True)
class Outcome:
    """A digit on its way; `attacked` is None when nobody attacks."""

    clean: Stage
    attacked: Stage | None
    purified: Stage
    chosen: int  # class of the projection that the purified image is; -1 when degraded
    rmse: Floats  # [K]; the model's score may choose another than its smallest
    degraded: bool  # no class had a finite distance: the purified image is NaN


class Attack:
    """White-box and targeted: the gradient of the very classifier that is defended, towards a random wrong class.

    The wrong class is drawn anew for each image, as in the paper, from a seeded generator.
    """

    def __init__(self, name: str, classifier: Path, epsilon: float = EPSILON, seed: int = 0, threads: int = 1) -> None:
        if name not in ATTACKS:
            raise ContractError(f"attack: got {name!r}, expected one of {', '.join(ATTACKS)}")
        if not 0 < epsilon <= 1:
            raise ContractError(f"epsilon={epsilon:g}: expected 0 < epsilon <= 1 (pixels are in [0,1])")
        self.name, self.epsilon = name, epsilon
        self._gradient = OnnxGradient(classifier, threads)
        self._random = np.random.default_rng(seed)

    def __call__(self, image: Floats, label: int) -> Floats:
        """[1,C,H,W] in [0,1] -> the same within epsilon, to be mistaken for another class than `label`."""
        other = int(self._random.integers(self._gradient.classes - 1))
        target = other + (other >= label)
        return ATTACKS[self.name](self._gradient, image, np.array([target]), self.epsilon, targeted=True)


class Defense:
    """Attack (if any), purifier and classifier in a row, on one digit at a time."""

    def __init__(self, purifier: Purifier, attack: Attack | None = None) -> None:
        if purifier.contract != DIGITS:
            raise ContractError(
                f"model {purifier.name!r} takes images {purifier.contract.shape}, expected {DIGITS.shape}: "
                "this demo finds handwritten digits; use a model of MNIST"
            )
        if purifier.classifier is None:
            raise ContractError(
                f"model {purifier.name!r} comes without a classifier, expected one to attack and to defend; "
                "build the bundle with a classifier or give --classifier FILE.onnx"
            )
        self.purifier, self.attack = purifier, attack
        self._classifier: Classifier = purifier.classifier
        self._warm_up()

    def __call__(self, digit: Floats, truth: int | None, clock: Stopwatch) -> Outcome:
        """One digit [1,28,28] in [0,1]; `truth` is what it must not be mistaken for, if known.

        Laps of `clock`: attack, purify, classify. Only the last two would run in a product.
        """
        image = digit[None]  # [1,1,28,28]
        clean = Stage(digit, int(self._classifier.labels(image)[0]))
        attacked = self._attacked(image, clean.label if truth is None else truth)
        clock.lap("attack")
        purified = self.purifier.purify(image if attacked is None else attacked.image[None])
        clock.lap("purify")
        chosen = int(purified.labels[0])
        degraded = chosen == NO_LABEL
        label = NO_LABEL if degraded else int(self._classifier.labels(purified.images)[0])
        clock.lap("classify")
        return Outcome(
            clean=clean,
            attacked=attacked,
            purified=Stage(purified.images[0], label),
            chosen=chosen,
            rmse=purified.rmse[0],
            degraded=degraded,
        )

    def _attacked(self, image: Floats, label: int) -> Stage | None:
        if self.attack is None:
            return None
        attacked = self.attack(image, label)
        return Stage(attacked[0], int(self._classifier.labels(attacked)[0]))

    def _warm_up(self) -> None:
        """The first runs allocate; no frame should pay for that."""
        for _ in range(3):
            self(np.zeros(DIGITS.shape, np.float32), 0, Stopwatch())
