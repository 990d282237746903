"""Attack detection from what a purifier tells anyway, and abstaining: no attack is known to it, good images alone are.

Three things are unusual for an image that was attacked, or that shows no class at all: the winner is far away, the
runner-up is close, and the classifier sees another class than before. Each is turned into the share of good images that
are at least as unusual; the score is the sum of their negative logarithms (Fisher's method), and the threshold the
quantile of good images' scores that lets a chosen share of them be false alarms.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puvae_rt.errors import ContractError, ResultsError
from puvae_rt.files import write_json
from puvae_rt.runtime.results import NO_LABEL, Floats, Ints, Result
from puvae_rt.schema import Finite, Share, decode, read_json

ABSTAINED = "abstained"
_QUANTILES = 201  # that are kept of each distribution
_LEAST_IMAGES = 20
_MAX_BYTES = 1 << 20
_REMEDY = "write it again with Detector.write"
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What is known of N images.

    Attributes:
        distance: [N], RMSE to the projection that was chosen; infinite where none was.
        margin: [N], score of the runner-up minus the winner's; NaN where a single class was decoded.
        changed: [N], whether the classifier sees another class behind the purifier.
    """

    distance: Doubles
    margin: Doubles
    changed: NDArray[np.bool_]

    @classmethod
    def of(cls, rmse: Floats, score: Floats, projected: Ints, before: Ints, after: Ints) -> Evidence:
        """From `rmse` and `score` [N,K] and `projected` [N] of `Purified`, and the labels before and after [N]."""
        n = len(projected)
        chosen = np.where(projected == NO_LABEL, 0, projected)
        distance = np.where(projected == NO_LABEL, np.inf, rmse[np.arange(n), chosen])
        best = np.sort(np.where(np.isnan(score), np.inf, score).astype(np.float64), axis=1)[:, :2]
        with np.errstate(invalid="ignore"):
            margin = best[:, 1] - best[:, 0] if best.shape[1] > 1 else np.full(n, np.nan)
        return cls(distance.astype(np.float64), np.where(np.isfinite(margin), margin, np.nan), before != after)

    def join(self, other: Evidence) -> Evidence:
        """Both, one behind the other."""
        parts = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Evidence(*(np.concatenate(pair) for pair in parts))


@dataclass(frozen=True)
class Detector:
    """What good images look like to a purifier, and where an alarm begins.

    Attributes:
        distances, margins: quantiles of good images, rising.
        change_rate: share of good images whose label changed.
        threshold: a score above it is an alarm.
        false_alarms: the share of good images that the threshold was set for.
    """

    distances: tuple[Finite, ...]
    margins: tuple[Finite, ...]
    change_rate: Share
    threshold: Finite
    false_alarms: Share

    @classmethod
    def calibrate(cls, good: Evidence, false_alarms: float = 0.05) -> Detector:
        """From validation images, clean and noisy; `false_alarms` of them lie above the threshold.

        Raises:
            ContractError: too few images, or a share that is none.
        """
        n = len(good.distance)
        if n < _LEAST_IMAGES or not 0 < false_alarms < 1:
            raise ContractError(
                f"calibration: got {n} images and false_alarms={false_alarms:g}, expected at least {_LEAST_IMAGES} "
                "images and a share between 0 and 1"
            )
        shares = np.linspace(0, 1, _QUANTILES)
        finite = good.distance[np.isfinite(good.distance)]
        margin = good.margin[np.isfinite(good.margin)]
        distances = tuple(np.quantile(finite, shares).tolist()) if len(finite) else (0.0,)
        margins = tuple(np.quantile(margin, shares).tolist()) if len(margin) else ()
        rate = (float(good.changed.sum()) + 1) / (n + 2)  # Laplace's: never 0 or 1
        found = cls(distances, margins, rate, 0.0, false_alarms)
        return replace(found, threshold=float(np.quantile(found.scores(good), 1 - false_alarms)))

    def scores(self, images: Evidence) -> Doubles:
        """[N], the larger the less usual."""
        far = 1 - _share_below(self.distances, images.distance)
        near = _share_below(self.margins, images.margin) if self.margins else np.ones(len(images.distance))
        near = np.where(np.isnan(images.margin), 1.0, near)
        least = 1 / (_QUANTILES + 1)
        total = -np.log(np.maximum(far, least)) - np.log(np.maximum(near, least))
        # A smooth tail: among images farther than all good ones, the farther is the less usual.
        beyond = np.maximum(0.0, images.distance / max(self.distances[-1], 1e-12) - 1)
        total += np.minimum(beyond, 1e6) - np.log(np.where(images.changed, self.change_rate, 1.0))
        return np.asarray(total, np.float64)

    def score(self, result: Result, before: int) -> float:
        """Of one frame; `before` is what the classifier saw in it as it came."""
        one = Evidence.of(
            result.rmse[None],
            result.score[None],
            np.array([result.projected]),
            np.array([before]),
            np.array([result.label]),
        )
        return float(self.scores(one)[0])

    def judge(self, result: Result, before: int) -> Result:
        """The result, or the same without its label (-1, reason "abstained") where its score is above the threshold."""
        if result.degraded or self.score(result, before) <= self.threshold:
            return result
        return replace(result, label=NO_LABEL, reason=ABSTAINED)

    def write(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Detector:
        """ResultsError for a file that is absent or damaged."""
        document = read_json(path, _MAX_BYTES, _REMEDY, ResultsError)
        found = decode(document, cls, str(path), _REMEDY, ResultsError)
        if not found.distances or not found.change_rate:
            raise ResultsError(f"{path}: got no distances or a change_rate of 0, expected quantiles; {_REMEDY}")
        return found


def _share_below(quantiles: tuple[float, ...], values: Doubles) -> Doubles:
    """The share of good images below each value."""
    shares = np.linspace(0, 1, len(quantiles)) if len(quantiles) > 1 else np.array([0.5])
    return np.asarray(np.interp(np.nan_to_num(values, nan=0.0, posinf=np.finfo(np.float64).max), quantiles, shares))


def auc(good: Doubles, bad: Doubles) -> float:
    """The area under the ROC curve: how often a bad image has a higher score than a good one, a tie counting half."""
    both = np.concatenate([good, bad])
    _, places, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    total = ranks[places][len(good) :].sum()
    return float((total - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad)))


def roc(good: Doubles, bad: Doubles, points: int = 101) -> list[dict[str, float]]:
    """The curve: shares of alarms among good and bad images, at thresholds from none to all."""
    thresholds = np.quantile(np.concatenate([good, bad]), np.linspace(1, 0, points))
    return [
        {"threshold": float(t), "false_alarms": float((good > t).mean()), "detected": float((bad > t).mean())}
        for t in thresholds
    ]


def risk_coverage(scores: Doubles, wrong: NDArray[np.bool_], points: int = 21) -> list[dict[str, Any]]:
    """What is gained by abstaining: of the `coverage` least unusual images, the share whose label is wrong."""
    order = np.argsort(scores, kind="stable")
    found = []
    for coverage in np.linspace(1, 1 / points, points):
        kept = order[: max(1, round(coverage * len(order)))]
        found.append({"coverage": len(kept) / len(order), "risk": float(wrong[kept].mean())})
    return found
