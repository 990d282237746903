from __future__ import annotations

import numpy as np
import pytest

from puvae_rt.stream import ages
from puvae_rt.stream.ages import AgeMeter, Percentiles


def filled(values: np.ndarray) -> Percentiles:
    found = Percentiles()
    for value in values:
        found.add(float(value))
    return found


def test_percentiles_are_exact_while_there_is_room() -> None:
    values = np.random.default_rng(0).exponential(5.0, 3000)
    expected = np.percentile(values, [50, 90, 99, 99.9, 100])
    np.testing.assert_allclose(list(filled(values).summary().values()), expected, rtol=1e-12)


def test_beyond_that_they_are_at_most_a_thousandth_too_high(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ages, "EXACT", 1024)
    values = np.random.default_rng(0).exponential(5.0, 20_000) + 0.01
    found = list(filled(values).summary().values())
    expected = np.percentile(values, [50, 90, 99, 99.9, 100], method="inverted_cdf")
    assert all(right <= got <= 1.001 * right for got, right in zip(found, expected, strict=True))
    assert found[-1] == values.max()


def test_values_out_of_every_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ages, "EXACT", 0)
    found = filled(np.array([0.0, 1e12])).summary()
    assert found["max"] == 1e12 and found["p50"] <= 0.001


def test_the_latest_values_alone() -> None:
    assert filled(np.array([100.0] * 500 + [1.0] * ages.RECENT)).summary(recent=True)["max"] == 1.0


def meter(late: int, frames: int) -> AgeMeter:
    found = AgeMeter(slo_ms=33)
    for index in range(frames):
        found.add(40.0 if index < late else 10.0, "read")
    return found


@pytest.mark.parametrize(
    "late, frames, dropped, kept",
    [
        (0, 10, 0, True),
        (1, 1000, 0, True),
        (2, 1000, 0, False),
        (0, 999, 1, True),
        (0, 500, 1, False),
        (0, 0, 0, False),
    ],
)
def test_one_in_a_thousand_may_be_late_or_dropped(late: int, frames: int, dropped: int, kept: bool) -> None:
    assert meter(late, frames).kept(dropped) is kept


def test_what_the_report_says() -> None:
    found = AgeMeter(33)
    for age, clock in ((10.0, "v4l2"), (40.0, "v4l2"), (10.0, "read")):
        found.add(age, clock)
    document = found.document(dropped=2)
    assert document["slo"] == {"ms": 33, "missed": 1, "kept": False}
    assert document["clock"] == {"v4l2": 2, "read": 1} and document["jitter_ms"] == 30
    assert document["age_ms"]["max"] == 40
    assert AgeMeter().document(0) == {
        "age_ms": dict.fromkeys(document["age_ms"]),
        "jitter_ms": None,
        "clock": {},
        "slo": None,
    }
