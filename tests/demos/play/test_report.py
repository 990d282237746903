from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from demos.play.defense import Outcome, Stage
from demos.play.report import Report, table
from tests import tolerances


def outcome(clean: int, attacked: int | None, purified: int, degraded: bool = False) -> Outcome:
    image = np.zeros((1, 28, 28), np.float32)
    return Outcome(
        clean=Stage(image, clean),
        attacked=None if attacked is None else Stage(image, attacked),
        purified=Stage(image, purified),
        chosen=purified,
        rmse=np.zeros(10, np.float32),
        degraded=degraded,
        timings_ms={},
    )


def laps(**milliseconds: float) -> dict[str, float]:
    return {**milliseconds, "total": sum(milliseconds.values())}


def test_accuracies_are_shares_of_the_frames_with_truth() -> None:
    report = Report()
    for seen, truth in [((1, 2, 1), 1), ((1, 1, 2), 1), ((3, 2, 3), 3), ((3, 2, 3), 4), ((5, 5, 5), None)]:
        report.add(outcome(*seen), truth)
    report.add(None, 7)
    document = report.document(dropped=11)
    assert document["accuracy"] == {"clean": 0.75, "attacked": 0.25, "purified": 0.5}
    assert (document["frames"], document["judged"], document["without_digit"], document["dropped"]) == (6, 4, 1, 11)


@pytest.mark.parametrize("replayed, counted", [((None, None), None), ((False, True), 1), ((True, True), 0)])
def test_frames_that_a_gpu_was_told_step_by_step_are_counted(replayed: tuple[bool | None, ...], counted) -> None:
    report = Report()
    for each in replayed:
        report.add(replace(outcome(1, None, 1), replayed=each), 1)
    assert report.document(0)["not_replayed"] == counted


def test_accuracy_is_null_without_truth_and_without_attack() -> None:
    report = Report()
    report.add(outcome(1, None, 1), None)
    assert report.document(0)["accuracy"] == {"clean": None, "attacked": None, "purified": None}
    report.add(outcome(1, None, 2), 1)
    assert report.document(0)["accuracy"] == {"clean": 1.0, "attacked": None, "purified": 0.0}


def test_latency_is_of_what_a_product_would_run() -> None:
    report = Report()
    for index in range(1, 101):
        report.time(laps(find=1.0, attack=50.0, purify=float(index), classify=0.5, draw=9.0, write=9.0))
    report.time(laps(find=1000.0, draw=9.0, write=9.0))  # no digit: no label to wait for
    document = report.document(0)
    assert document["latency_ms"]["p50"] == pytest.approx(52.0)
    assert document["latency_ms"]["max"] == pytest.approx(101.5)
    assert document["stages_ms"]["find"]["max"] == 1000.0
    assert document["stages_ms"]["attack"]["p99_9"] == 50.0
    assert "total" not in document["stages_ms"]
    assert list(document["latency_ms"]) == ["p50", "p90", "p99", "p99_9", "max"]


def test_recent_frames() -> None:
    report = Report()
    for milliseconds in [100.0] * 500 + [1.0] * 300:
        report.time(laps(find=0.0, purify=milliseconds, classify=0.0))
    assert report.latency_ms(recent=True)["max"] == 1.0
    assert report.latency_ms()["max"] == 100.0


def test_an_empty_report_is_still_json_and_text() -> None:
    document = Report().document(0)
    assert document["latency_ms"]["p50"] is None
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert "accuracy" in table(document)


def test_degraded_frames_are_counted() -> None:
    report = Report()
    report.add(outcome(1, 2, -1, degraded=True), 1)
    document = report.document(0)
    assert document["degraded"] == 1 and document["accuracy"]["purified"] == 0


def test_percentiles_of_every_frame() -> None:
    values = np.random.default_rng(0).exponential(5.0, 2000)
    report = Report()
    for value in values:
        report.time(laps(find=0.0, purify=value, classify=0.0))
    expected = np.percentile(values, [50, 90, 99, 99.9, 100])
    np.testing.assert_allclose(list(report.document(0)["latency_ms"].values()), expected, rtol=tolerances.TOY_GRAPH)
