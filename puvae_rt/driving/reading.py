"""Every sign of a frame through purifier and classifier in one batch: `SignReader.__call__` is one frame."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from puvae_rt.contract import NO_LABEL
from puvae_rt.driving.annotations import MARGIN, Sign, widened
from puvae_rt.driving.attack import SignAttack
from puvae_rt.errors import ContractError, EngineError
from puvae_rt.runtime.preprocess import as_input
from puvae_rt.runtime.purifier import Purifier, Stopwatch
from puvae_rt.runtime.results import Floats, Ints, Purified
from puvae_rt.stream.detection import Detector, Evidence
from puvae_rt.stream.guard import ERROR, NAN
from puvae_rt.video.frames import Pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What was read on one sign.

    Attributes:
        sign: where it is, and its class where that is known.
        clean, attacked, purified: the classifier's classes; `attacked` is None when nobody attacks, `purified` is -1
            when the purifier had no answer.
        before, after: float32 [C,H,W] in [0,1], what reached the purifier and what came out (NaN without an answer).
        suspicion: the detector's score; None without a detector.
        alarm: whether it is above the threshold.
    """

    sign: Sign
    clean: int
    attacked: int | None
    purified: int
    before: Floats
    after: Floats
    suspicion: float | None = None
    alarm: bool = False


@dataclass(frozen=True)
class Reading:
    """One frame: its signs, the milliseconds of each stage, and why it is degraded ("nan", "error"), else empty."""

    signs: tuple[Seen, ...]
    timings_ms: Mapping[str, float]
    reason: str = ""


class SignReader:
    """A purifier and its classifier, and an attack on it if wanted, for all signs of a frame at once.

    Raises:
        ContractError: the purifier comes without a classifier, or the margin is out of its range.
    """

    def __init__(
        self,
        purifier: Purifier,
        attack: SignAttack | None = None,
        detector: Detector | None = None,
        margin: float = MARGIN,
    ) -> None:
        if purifier.classifier is None:
            raise ContractError(
                f"model {purifier.name!r} comes without a classifier, expected one to read signs; "
                "build the bundle with a classifier or give --classifier FILE.onnx"
            )
        if not 0 <= margin <= 1:
            raise ContractError(f"margin {margin:g}: expected a share of a sign's side from 0 to 1")
        self.purifier, self.attack, self.detector, self.margin = purifier, attack, detector, margin
        self._classifier = purifier.classifier

    def __call__(self, frame: Pixels, signs: Sequence[Sign]) -> Reading:
        """A BGR frame [H,W,3] and where its signs are; an attack takes the classifier's word for an unknown class.

        Raises:
            InputError, ClosedError: as of `Purifier.__call__`.
        """
        clock = Stopwatch()
        if not signs:
            return Reading((), clock.timings_ms())
        contract = self.purifier.contract
        images = np.concatenate([as_input(frame, widened(s.box, self.margin), contract) for s in signs])  # [N,C,H,W]
        clock.lap("preprocess")
        clean = before = self._classifier.labels(images)
        if self.attack is not None:
            known = [label if s.label is None else s.label for s, label in zip(signs, clean.tolist(), strict=True)]
            images = self.attack(images, np.array(known))
            before = self._classifier.labels(images)
        clock.lap("attack")
        purified, reason = self._purify(images)
        clock.lap("purify")
        after = self.purifier.label(purified)
        scores = None if self.detector is None or reason else self._scores(purified, before, after)
        clock.lap("classify")
        seen = tuple(
            Seen(
                sign,
                int(clean[i]),
                None if self.attack is None else int(before[i]),
                int(after[i]),
                images[i],
                purified.images[i],
                None if scores is None else float(scores[i]),
                scores is not None and self.detector is not None and bool(scores[i] > self.detector.threshold),
            )
            for i, sign in enumerate(signs)
        )
        return Reading(seen, clock.timings_ms(), reason)

    def _purify(self, images: Floats) -> tuple[Purified, str]:
        """The projections, and why some are missing; those are NaN, and their class is -1."""
        try:
            purified = self.purifier.purify(images)
        except EngineError as error:
            logger.warning("%s", error)
            none = np.full((len(images), len(self.purifier.classes)), np.nan, np.float32)
            return Purified(np.full_like(images, np.nan), np.full(len(images), NO_LABEL), none, none), ERROR
        return purified, NAN if (purified.projected == NO_LABEL).any() else ""

    def _scores(self, purified: Purified, before: Ints, after: Ints) -> Floats:
        evidence = Evidence.of(purified.rmse, purified.score, purified.projected, before, after)
        assert self.detector is not None  # the caller's condition
        return np.asarray(self.detector.scores(evidence), np.float32)
