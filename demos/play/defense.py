"""What happens to one digit: attacked, purified, classified before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demos import arguments
from demos.play.digits import SIDE
from puvae_rt._moved import renamed
from puvae_rt.attacks import onnx_attack
from puvae_rt.attacks.constants import EPSILON
from puvae_rt.attacks.onnx_attack import OnnxGradient
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.runtime.purifier import Purifier, Stopwatch
from puvae_rt.runtime.results import NO_LABEL, PASSTHROUGH, PURIFIED, Floats, Result
from puvae_rt.stream.detection import Detector
from puvae_rt.stream.guard import Guard
from puvae_rt.video.frames import Pixels

ATTACKS: dict[str, Callable[..., Floats]] = {name: getattr(onnx_attack, name) for name in arguments.ATTACKS}
DIGITS = ImageContract(1, SIDE, SIDE)
_OFF = "purifier off"
_WARM_UP_SECONDS = 60.0  # added to a guard's deadline for the first runs
_EXACT = 1e-3  # of a gray level: float32 misses whole levels by less


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
    timings_ms: Mapping[str, float]  # attack, purify, classify: only the last two would run in a product
    reason: str = ""  # why it is degraded
    shown: str = PURIFIED  # what `purified` is of, as `Result.shown`
    suspicion: float | None = None  # a detector's score; None without one
    alarm: bool = False  # whether it is above the threshold
    replayed: bool | None = None  # as `Result.replayed`


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

    def __init__(self, purifier: Purifier, attack: Attack | None = None, guard: Guard | None = None) -> None:
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
        self.purifier, self.attack, self.guard, self.purifying = purifier, attack, guard, True
        self.detector: Detector | None = None
        self._classifier: Classifier = purifier.classifier
        self._warm_up()

    def __call__(self, digit: Floats, truth: int | None, captured: float | None = None) -> Outcome:
        """One digit [1,28,28] in [0,1]; `truth` is what it must not be mistaken for, if known.

        `captured` is its frame's stamp, from which a guard's deadline runs; the time of the attack is not counted.
        The purifier takes it as a product would: as a frame of 8 bits, attacked or not.
        """
        clock = Stopwatch()
        frame = as_frame(digit)
        clean = self._seen(frame)
        attacked = None
        if self.attack is not None:
            image = self.attack(clean.image[None], clean.label if truth is None else truth)[0]
            frame = as_frame(image, around=frame)
            attacked = self._seen(frame)
        clock.lap("attack")
        attack_ms = clock.timings_ms()["attack"]
        result = self._purified(frame, None if captured is None else captured + attack_ms / 1e3)
        suspicion = None
        if self.detector is not None and not result.reason:
            suspicion = self.detector.score(result, (attacked or clean).label)
        laps = result.timings_ms
        return Outcome(
            clean=clean,
            attacked=attacked,
            purified=Stage(result.image, result.label),
            chosen=result.projected,
            rmse=result.rmse,
            degraded=result.degraded,
            timings_ms={
                "attack": attack_ms,
                "purify": laps["preprocess"] + laps["purify"],
                "classify": laps["classify"],
            },
            reason=result.reason,
            shown=result.shown,
            suspicion=suspicion,
            alarm=self.detector is not None and suspicion is not None and suspicion > self.detector.threshold,
            replayed=result.replayed,
        )

    def _purified(self, frame: Pixels, captured: float | None) -> Result:
        whole = (0, 0, SIDE, SIDE)
        if not self.purifying:
            return self._as_it_is(frame)
        return self.purifier(frame, whole) if self.guard is None else self.guard(frame, whole, captured)

    def _as_it_is(self, frame: Pixels) -> Result:
        """What the classifier alone sees."""
        seen, none = self._seen(frame), np.full(len(self.purifier.classes), np.nan, np.float32)
        laps = dict.fromkeys(("preprocess", "purify", "classify", "total"), 0.0)
        return Result(seen.image, seen.label, none, laps, False, NO_LABEL, none, _OFF, PASSTHROUGH)

    def _seen(self, frame: Pixels) -> Stage:
        image = np.divide(frame, 255, dtype=np.float32)[None]  # [1,28,28]
        return Stage(image, int(self._classifier.labels(image[None])[0]))

    def _warm_up(self) -> None:
        """The first runs allocate; no frame should pay for that."""
        for _ in range(3):
            self(np.zeros(DIGITS.shape, np.float32), 0, time.monotonic() + _WARM_UP_SECONDS)
        if self.guard is not None:
            self.guard.counts.clear()


def as_frame(image: Floats, around: Pixels | None = None) -> Pixels:
    """An image [1,H,W] in [0,1] as a gray frame uint8 [H,W], as a camera would deliver it.

    Rounded to the nearest level; with `around`, a frame, towards that one, so that no change becomes larger.
    """
    if around is None:
        return np.asarray(np.round(255 * image[0]), np.uint8)
    change = 255 * image[0] - around
    return np.asarray(around + np.trunc(change + np.copysign(_EXACT, change)), np.uint8)


__getattr__ = renamed(__name__, {"Defence": "Defense", "NO_ATTACK": "demos.arguments:NO_ATTACK"})
