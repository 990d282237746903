from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.attacks.onnx_attack import OnnxGradient
from puvae_rt.errors import ContractError, ResultsError
from puvae_rt.evaluation.detection import evidence, measure
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.results import NO_LABEL, Result
from puvae_rt.stream.detection import Detector, Evidence, auc, risk_coverage, roc
from tests.demos.fixtures import samples

__all__ = ["samples"]
RANDOM = np.random.default_rng(0)


def images(n: int, distance: float = 0.1, margin: float = 5.0, changed: float = 0.02) -> Evidence:
    draw = np.random.default_rng(n)
    return Evidence(draw.normal(distance, 0.02, n), draw.normal(margin, 1, n), draw.random(n) < changed)


GOOD = images(500)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_threshold_lets_a_share_of_good_images_be_alarms(share: float) -> None:
    detector = Detector.calibrate(GOOD, share)
    assert (detector.scores(GOOD) > detector.threshold).mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("odd", [{"distance": 0.3}, {"margin": -3}, {"changed": 1.0}])
def test_each_kind_of_oddness_raises_the_score(odd: dict[str, float]) -> None:
    detector = Detector.calibrate(GOOD)
    usual = detector.scores(images(300))
    assert auc(usual, detector.scores(images(300, **odd))) > 0.8
    assert auc(usual, detector.scores(images(301))) == pytest.approx(0.5, abs=0.08)


def test_scores_rise_beyond_what_was_seen_and_are_finite() -> None:
    detector = Detector.calibrate(GOOD)
    odd = Evidence(np.array([0.5, 5.0, np.inf]), np.array([5.0, 5.0, np.nan]), np.zeros(3, bool))
    scores = detector.scores(odd)
    assert np.isfinite(scores).all() and scores[0] < scores[1] < scores[2]


def test_evidence_of_a_batch() -> None:
    nan, inf = np.nan, np.inf
    rmse = np.array([[0.3, 0.1, nan], [0.2, nan, nan], [nan, nan, nan]], np.float32)
    score = np.array([[9, 1, inf], [4, inf, inf], [nan, nan, nan]], np.float32)
    found = Evidence.of(rmse, score, np.array([1, 0, NO_LABEL]), np.array([1, 1, 1]), np.array([1, 0, NO_LABEL]))
    np.testing.assert_allclose(found.distance, [0.1, 0.2, inf], atol=1e-6)
    np.testing.assert_allclose(found.margin, [8, nan, nan])
    assert found.changed.tolist() == [False, True, True]


def test_auc_counts_pairs() -> None:
    good, bad = RANDOM.integers(0, 9, 60).astype(float), RANDOM.integers(3, 12, 50).astype(float)
    pairs = (bad[None] > good[:, None]).mean() + 0.5 * (bad[None] == good[:, None]).mean()
    assert auc(good, bad) == pytest.approx(pairs)
    curve = roc(good, bad)
    assert curve[0] == {"threshold": 11.0, "false_alarms": 0.0, "detected": 0.0}
    rates = [point["detected"] for point in curve]
    assert rates == sorted(rates)


def test_risk_falls_where_the_wrong_are_unusual() -> None:
    curve = risk_coverage(np.arange(100.0), np.arange(100) >= 80)
    assert curve[0] == {"coverage": 1.0, "risk": 0.2} and curve[-1]["risk"] == 0
    risks = [point["risk"] for point in curve]
    assert risks == sorted(risks, reverse=True)


def result(distance: float) -> Result:
    rmse = np.array([distance, 0.6], np.float32)
    return Result(np.zeros((1, 28, 28), np.float32), 0, rmse, {}, False, 0, np.array([1, 6], np.float32))


def test_an_unusual_frame_has_no_label_and_a_reason() -> None:
    detector = Detector.calibrate(GOOD)
    assert detector.judge(usual := result(0.1), 0) is usual
    judged = detector.judge(result(0.5), 1)
    assert (judged.label, judged.reason, judged.degraded) == (NO_LABEL, "abstained", False)
    bad = replace(result(0.5), degraded=True)
    assert detector.judge(bad, 1) is bad


def test_a_detector_is_kept_as_json(tmp_path: Path) -> None:
    detector = Detector.calibrate(GOOD)
    detector.write(tmp_path / "detector.json")
    assert Detector.read(tmp_path / "detector.json") == detector
    document = json.loads((tmp_path / "detector.json").read_text())
    for wrong in ({"distances": []}, {"change_rate": 0}, {"change_rate": 2}, {"margins": ["x"]}, {"threshold": None}):
        (tmp_path / "detector.json").write_text(json.dumps(document | wrong))
        with pytest.raises(ResultsError):
            Detector.read(tmp_path / "detector.json")
    with pytest.raises(ResultsError):
        Detector.read(tmp_path / "absent.json")
    with pytest.raises(ContractError, match="expected at least 20"):
        Detector.calibrate(images(5))


def test_attacks_on_the_shipped_model_are_detected(samples: object) -> None:
    pixels = samples.images.astype(np.float32) / 255
    labels = samples.labels
    with Purifier.load("mnist", threads=1) as purifier:
        gradient = OnnxGradient(resolve("mnist", None, True).classifier)
        detector, found = measure(purifier, gradient, pixels[:40], pixels[40:80], labels[40:80])
        assert evidence(purifier, pixels[:3])[1].shape == (3,)
    assert found["conditions"]["fgsm"]["auc"] > 0.8 and found["conditions"]["ifgsm"]["auc"] > 0.8
    assert found["false_alarms"] < 0.25 and found["threshold"] == detector.threshold
    assert set(found["risk_coverage"]) == {"clean", "noise", "fgsm", "ifgsm", "all"}
    assert all(curve[0]["coverage"] == 1 for curve in found["risk_coverage"].values())
