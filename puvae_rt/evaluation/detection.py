"""How well attacks are detected: `python -m puvae_rt.evaluation.detection --model mnist`.

The detector is calibrated on validation images, clean and with noise; attacked are others. Attacks are white-box on the
model's own classifier, untargeted. Writes results/detection_MODEL.json: AUC and ROC curve per attack, and risk against
coverage with the threshold; and results/detector_MODEL.json, the detector itself, for `puvae demo video --detector`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from puvae_rt.attacks.constants import COLOUR_EPSILON, EPSILON
from puvae_rt.attacks.onnx_attack import ATTACKS, OnnxGradient
from puvae_rt.contract import MEASURED
from puvae_rt.errors import ContractError, DataError, PuvaeError
from puvae_rt.files import write_json
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.runtime.results import NO_LABEL, Floats, Ints
from puvae_rt.stream.detection import Detector, Evidence, auc, risk_coverage, roc

NOISE = 0.1  # standard deviation of the noisy validation images
_BATCH = 100


def evidence(purifier: Purifier, images: Floats) -> tuple[Evidence, Ints]:
    """What is known of images [N,C,H,W] in [0,1], and their labels behind the purifier; -1 is none."""
    if purifier.classifier is None:
        raise ContractError(f"model {purifier.name!r} comes without a classifier, expected one whose label may change")
    parts, labels = list[Evidence](), list[Ints]()
    for first in range(0, len(images), _BATCH):
        batch = images[first : first + _BATCH]
        purified = purifier.purify(batch)
        after = purifier.classifier.labels(np.nan_to_num(purified.images))
        after = np.where(purified.projected == NO_LABEL, NO_LABEL, after)
        before = purifier.classifier.labels(batch)
        parts.append(Evidence.of(purified.rmse, purified.score, purified.projected, before, after))
        labels.append(after)
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.join(part)
    return joined, np.concatenate(labels)


def noisy(images: Floats, seed: int = 0) -> Floats:
    """Images with Gaussian noise, in [0,1]."""
    noise = np.random.default_rng(seed).normal(0, NOISE, images.shape).astype(np.float32)
    return np.asarray(np.clip(images + noise, 0, 1), np.float32)


def measure(
    purifier: Purifier,
    gradient: OnnxGradient,
    validation: Floats,
    images: Floats,
    labels: Ints,
    epsilon: float = EPSILON,
    false_alarms: float = 0.05,
) -> tuple[Detector, dict[str, Any]]:
    """The detector, calibrated on `validation`, and what it detects on `images` with their true `labels`."""
    good = evidence(purifier, validation)[0].join(evidence(purifier, noisy(validation))[0])
    detector = Detector.calibrate(good, false_alarms)
    clean, predicted = evidence(purifier, images)
    scores = {"clean": detector.scores(clean)}
    wrong = {"clean": predicted != labels}
    conditions = {"noise": noisy(images, seed=1)}
    conditions |= {
        name: np.concatenate(
            [
                attack(gradient, images[i : i + _BATCH], labels[i : i + _BATCH], epsilon)
                for i in range(0, len(images), _BATCH)
            ]
        )
        for name, attack in ATTACKS.items()
    }
    for name, attacked in conditions.items():
        found, predicted = evidence(purifier, attacked)
        scores[name], wrong[name] = detector.scores(found), predicted != labels
    attacks = {
        name: {
            "auc": auc(scores["clean"], scores[name]),
            "alarms": float((scores[name] > detector.threshold).mean()),
            "roc": roc(scores["clean"], scores[name]),
        }
        for name in conditions
    }
    everything = np.concatenate(list(scores.values())), np.concatenate(list(wrong.values()))
    return detector, {
        "false_alarms": float((scores["clean"] > detector.threshold).mean()),
        "threshold": detector.threshold,
        "conditions": attacks,
        "risk_coverage": {name: risk_coverage(scores[name], wrong[name]) for name in scores}
        | {"all": risk_coverage(*everything)},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and writes; 2 where it cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mnist", help="shipped model, or the folder of a bundle")
    parser.add_argument("--data", type=Path, help="its data set (default: the folder in PUVAE_DATA, or the download)")
    parser.add_argument("--images", type=int, default=1000, help="test images; as many calibrate (default: 1000)")
    parser.add_argument(
        "--epsilon", type=float, help=f"L-infinity radius (default: {EPSILON:g}, color {COLOUR_EPSILON:g})"
    )
    parser.add_argument("--false-alarms", type=float, default=0.05, help="share of good images (default: 0.05)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write into (default: results)")
    args = parser.parse_args(argv)
    try:
        path = run(args)
    except PuvaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written: {path}")
    return 0


def run(args: argparse.Namespace) -> Path:
    """The file that was written."""
    from puvae_rt.data.datasets import load_dataset

    count = args.images
    with Purifier.load(args.model) as purifier:
        found = resolve(args.model, None, True)
        if found.classifier is None:
            raise ContractError(f"model {args.model!r} comes without a classifier, expected one to attack")
        data = load_dataset(purifier.name, args.data)
        if not 0 < count <= min(len(data.test.images), len(data.validation.images)):
            raise DataError(f"--images {count}: got {len(data.test.images)} test images, expected at most as many")
        epsilon = args.epsilon or (EPSILON if purifier.contract.channels == 1 else COLOUR_EPSILON)
        validation, _ = data.validation.batch(slice(count))
        images, labels = data.test.batch(slice(count))
        gradient = OnnxGradient(found.classifier)
        detector, document = measure(purifier, gradient, validation, images, labels, epsilon, args.false_alarms)
    detector.write(Path(args.out) / f"detector_{purifier.name}.json")
    path = Path(args.out) / f"detection_{purifier.name}.json"
    settings = {"model": purifier.name, "images": count, "epsilon": epsilon, "noise": NOISE}
    write_json(path, settings | document | {"evidence": MEASURED})
    return path


if __name__ == "__main__":
    sys.exit(main())
