"""The quality gate: an engine against the FP32 reference graph on the same images. It fails closed.

The reference decodes every class. An engine with a shortlist is compared with it where both decoded: distances of those
classes, and the choice among them. What the shortlist itself costs is in the accuracy, which is held against the
reference's choice among all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.attacked_samples import Progress
from export.samples import Samples
from puvae_rt._moved import renamed
from puvae_rt.contract import NO_LABEL
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.bundle import NATIVE
from puvae_rt.runtime.manifest import Quality
from puvae_rt.runtime.results import Floats, Ints, Purified

Runner = Callable[[Floats, Floats | None], Purified]  # images [N,C,H,W], noise [N,K,32] or None
Label = Callable[[Floats], Ints]  # a classifier: images [N,C,H,W] -> [N]

NOISE_SEED = 7
BATCH = 100  # images at a time; candidates of 43 classes of 32x32x3 take 50 MB
# JSON has no infinity: of images that are equal, and of an error that is NaN.
MAX_PSNR_DB, MAX_NUMBER = 200.0, 1e300

ACCURACY, CLASSIFIED = "accuracy", "classified"  # of the projection chosen; of the classifier on the purified image
AGREEMENT, PSNR, MAX_ERROR = "agreement", "psnr_db", "max_error"
ACCURACY_DROP = "accuracy_drop"
EXACT_ERROR = "exact_error"  # of any candidate's pixel before and after the exact passes (`export.proof`)

# By precision, and for target native. Agreement and accuracy: shares of the images of each set; errors: where both
# chose the same class.
LIMITS: dict[str, dict[str, float]] = {
    # The promise of the exact passes; two scores closer than rounding may change places.
    "fp32": {ACCURACY_DROP: 0.002, AGREEMENT: 0.998, PSNR: 90.0, MAX_ERROR: 1e-5},
    # FP16 has 11 bits: a pixel is off by 1/1000 or so (60 dB), now and then a close decision falls otherwise.
    # libpuvae: fast convolutions round more than plain sums, and both are FP32.
    NATIVE: {ACCURACY_DROP: 0.002, AGREEMENT: 0.998, PSNR: 80.0, MAX_ERROR: 1e-4},
    "fp16": {ACCURACY_DROP: 0.01, AGREEMENT: 0.98, PSNR: 45.0},
}
# Of an engine with a shortlist, where its precision does not allow more: the right class is not always listed.
SHORTLIST_LIMITS = {ACCURACY_DROP: 0.003, AGREEMENT: 0.99}


@dataclass(frozen=True)
class Answers:
    """What one engine made of one image set."""

    purified: Purified
    classified: Ints | None  # labels by the classifier, where there is one


def measure(
    reference: Runner,
    built: Runner,
    samples: Samples,
    precision: str,
    evidence: str,
    noise_classes: int = 0,
    classifier: Label | None = None,
    progress: Progress = lambda line: None,
    shortlist: int | None = None,
) -> Quality:
    """The quality of an engine: what it and the reference make of every image set, held against the precision's limits.

    Args:
        reference: the FP32 graph.
        built: the engine.
        samples: images and labels.
        precision: a key of LIMITS.
        evidence: how `built` ran.
        noise_classes: K where the engine samples (both get the same noise), 0 where it does not.
        classifier: what labels purified images, if there is one.
        progress: told of each image set before it is run.
        shortlist: how many classes of each image the engine has to decode; None is all.
    """
    expected: dict[str, float] = {}
    got: dict[str, float] = {}
    for number, (name, images) in enumerate(samples.sets.items(), 1):
        progress(f"{name}, set {number} of {len(samples.sets)}: {len(images)} images, by the reference and the engine")
        floats = np.divide(images, 255, dtype=np.float32)
        want, have = (_run(runner, floats, noise_classes, classifier) for runner in (reference, built))
        expected |= {f"{key}/{name}": value for key, value in _accuracies(want, samples.labels)}
        got |= {f"{key}/{name}": value for key, value in _accuracies(have, samples.labels)}
        got |= {f"{key}/{name}": value for key, value in _differences(want.purified, have.purified, shortlist)}
    limits = limits_of(precision, shortlist)
    failures = tuple(_failures(expected, got, limits))
    return Quality(expected, got, limits, not failures, failures, len(samples), samples.sha256, evidence)


def limits_of(precision: str, shortlist: int | None) -> dict[str, float]:
    """What an engine of a precision, with or without a shortlist, is held against."""
    limits = dict(LIMITS[precision])
    if shortlist is not None:
        limits[ACCURACY_DROP] = max(limits[ACCURACY_DROP], SHORTLIST_LIMITS[ACCURACY_DROP])
        limits[AGREEMENT] = min(limits[AGREEMENT], SHORTLIST_LIMITS[AGREEMENT])
    return limits


def _run(runner: Runner, images: Floats, noise_classes: int, classifier: Label | None) -> Answers:
    noise = None
    if noise_classes:
        noise = np.random.default_rng(NOISE_SEED).standard_normal((len(images), noise_classes, LATENT), np.float32)
    parts = [
        runner(images[i : i + BATCH], None if noise is None else noise[i : i + BATCH])
        for i in range(0, len(images), BATCH)
    ]
    purified = Purified.join(parts)
    if classifier is None:
        return Answers(purified, None)
    labels = np.full(len(purified), NO_LABEL, np.int64)
    found = purified.projected != NO_LABEL  # the others are NaN, which no classifier takes
    if found.any():
        labels[found] = classifier(purified.images[found])
    return Answers(purified, labels)


def _accuracies(answers: Answers, labels: Ints) -> Iterator[tuple[str, float]]:
    yield ACCURACY, float((answers.purified.projected == labels).mean())
    if answers.classified is not None:
        yield CLASSIFIED, float((answers.classified == labels).mean())


def _differences(want: Purified, have: Purified, shortlist: int | None) -> Iterator[tuple[str, float]]:
    """Yield the agreement of the choice among the classes that both decoded, and the error of the purified pixels and
    of the distances to these classes.

    NaN counts as infinitely wrong, as does an engine that decodes more or fewer classes than it should.
    """
    decoded = want.decoded & have.decoded
    complete = have.decoded.sum(axis=1) == (shortlist or have.rmse.shape[1])
    yield AGREEMENT, float(((_among(want, decoded) == have.projected) & complete).mean())
    same = want.projected == have.projected
    errors = want.images[same].astype(np.float64) - have.images[same]
    squares = float(np.square(errors).mean()) if same.any() else np.inf
    yield PSNR, float(np.clip(-10 * np.log10(max(squares, 1e-30)), 0, MAX_PSNR_DB)) if np.isfinite(squares) else 0.0
    distances = np.abs(want.rmse.astype(np.float64) - have.rmse)[decoded]
    worst = float(np.maximum(np.abs(errors).max(initial=0), distances.max(initial=0)))  # keeps a NaN
    yield MAX_ERROR, worst if complete.all() and np.isfinite(worst + squares) else MAX_NUMBER


def _among(purified: Purified, classes: npt.NDArray[np.bool_]) -> Ints:
    """What would have been chosen among `classes` [N,K] alone, [N]: itself where it is among them."""
    scores = np.where(classes & ~np.isnan(purified.score), purified.score, np.inf)
    best = np.where(np.isinf(scores).all(axis=1), NO_LABEL, scores.argmin(axis=1))
    listed = np.take_along_axis(classes, np.maximum(purified.projected, 0)[:, None], axis=1)[:, 0]
    return np.where(listed & (purified.projected != NO_LABEL), purified.projected, best)


def _failures(expected: Mapping[str, float], got: Mapping[str, float], limits: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence for each limit broken; a NaN breaks it too."""
    for key, value in got.items():
        measure_name = key.partition("/")[0]
        if key in expected:
            floor = expected[key] - limits[ACCURACY_DROP]
            if not value >= floor:
                yield f"{key} is {value:.4f}, the reference has {expected[key]:.4f}: limit {floor:.4f}"
        elif measure_name == MAX_ERROR:
            if MAX_ERROR in limits and not value <= limits[MAX_ERROR]:
                yield f"{key} is {value:.3g}, limit {limits[MAX_ERROR]:g}"
        elif not value >= limits[measure_name]:
            yield f"{key} is {value:.4f}, limit {limits[measure_name]:g}"


__getattr__ = renamed(__name__, {"Outcome": "Answers"})
