from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.errors import ClosedError, ContractError, DegradedError, EngineError, InputError
from puvae_rt.runtime.results import NO_LABEL
from puvae_rt.stream.guard import Guard
from tests.runtime import toy

FRAME = np.random.default_rng(1).integers(0, 256, (28, 28), np.uint8)


class Moody:
    """A purifier that answers as it is told: good, slow, nan, error."""

    def __init__(self, purifier: Purifier) -> None:
        self.real, self.mood, self.go_on = purifier, "good", threading.Event()
        self.name, self.contract, self.classes = purifier.name, purifier.contract, purifier.classes
        self.classifier = purifier.classifier

    def __call__(self, frame: np.ndarray, roi: object = None) -> object:
        if self.mood == "slow":
            self.go_on.wait(10)
        elif self.mood == "error":
            raise EngineError("engine: it failed")
        result = self.real(frame, roi)
        if self.mood != "nan":
            return result
        return type(result)(
            np.full_like(result.image, np.nan), NO_LABEL, result.rmse, result.timings_ms, True, NO_LABEL, result.score
        )


@pytest.fixture
def moody(toy_bundle: Path) -> Moody:
    with Purifier.load(toy_bundle, threads=1) as purifier:
        yield Moody(purifier)


@pytest.mark.parametrize("mood, reason", [("nan", "nan"), ("error", "error"), ("slow", "deadline")])
def test_the_frame_as_it_came(moody: Moody, mood: str, reason: str) -> None:
    with Guard(moody, "passthrough", deadline_ms=150) as guard:
        good = guard(FRAME)
        assert (good.degraded, good.reason, good.shown) == (False, "", "purified")
        moody.mood = mood
        result = guard(FRAME)
        assert (result.degraded, result.reason, result.shown) == (True, reason, "passthrough")
        np.testing.assert_allclose(result.image[0], FRAME / 255, atol=1e-6)
        assert result.label == 3 and result.projected == NO_LABEL and np.isnan(result.rmse).all()
        assert guard.counts == {reason: 1}
        moody.mood = "good"
        moody.go_on.set()
        assert not guard(FRAME, captured=time.monotonic() + 5).degraded


def test_an_answer_is_in_time_though_the_purifier_is_not(moody: Moody) -> None:
    with Guard(moody, deadline_ms=100) as guard:
        guard(FRAME)
        moody.mood = "slow"
        started = time.monotonic()
        for _ in range(3):  # the second and third find it still at work
            assert guard(FRAME).reason == "deadline"
        assert time.monotonic() - started < 2
        assert guard(FRAME, captured=time.monotonic() - 1).reason == "deadline"  # too old to begin
        moody.go_on.set()
    assert guard.counts == {"deadline": 4}


def test_the_last_good_result_is_kept_for_a_while(moody: Moody) -> None:
    guard = Guard(moody, "last-good", keep_seconds=0.2)
    moody.mood = "error"
    assert (guard(FRAME).shown, guard(FRAME).label) == ("none", NO_LABEL)
    moody.mood = "good"
    good = guard(FRAME)
    moody.mood = "nan"
    kept = guard(FRAME)
    assert kept.shown == "last-good" and kept.degraded and kept.label == good.label
    np.testing.assert_array_equal(kept.image, good.image)
    time.sleep(0.25)
    old = guard(FRAME)
    assert old.shown == "none" and old.label == NO_LABEL and np.isnan(old.image).all()


def test_stop_is_an_error_that_says_why(moody: Moody) -> None:
    guard = Guard(moody, "stop")
    moody.mood = "error"
    with pytest.raises(DegradedError, match=r"\(error\).*passthrough or last-good"):
        guard(FRAME)


def test_mistakes_of_the_caller_stay_errors(toy_bundle: Path) -> None:
    with (
        Purifier.load(toy_bundle, threads=1) as purifier,
        Guard(purifier, deadline_ms=1000) as guard,
        pytest.raises(InputError),
    ):
        guard(np.zeros((2, 2), np.float32))
    with pytest.raises(ClosedError):
        Guard(purifier)(FRAME)
    for wrong in ({"mode": "black"}, {"deadline_ms": 0}, {"deadline_ms": float("nan")}):
        with pytest.raises(ContractError):
            Guard(purifier, **wrong)


def test_without_a_classifier_a_passed_frame_has_no_label(tmp_path: Path) -> None:
    bundle = toy.save_bundle(tmp_path / "bare", classifier=False, template=float("nan"))
    with Purifier.load(bundle, threads=1) as purifier:
        result = Guard(purifier)(FRAME)
    assert (result.reason, result.shown, result.label) == ("nan", "passthrough", NO_LABEL)
