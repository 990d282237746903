from __future__ import annotations

import numpy as np
import pytest

from demos.play.defense import Outcome, Stage
from demos.play.digits import Digit
from demos.play.overlay import SIZE, Overlay
from demos.play.report import Report
from puvae_rt.video.frames import Frame, Truth

DIGIT = Digit(np.tile(np.linspace(0, 1, 28, dtype=np.float32), (1, 28, 1)), (20, 30, 40, 50))


def outcome(label: int = 3, classes: int = 10, **changes: object) -> Outcome:
    stage = Stage(DIGIT.image, label)
    rmse = np.linspace(0.2, 0.4, classes, dtype=np.float32)
    usual = {"clean": stage, "attacked": stage, "purified": stage, "chosen": label, "rmse": rmse, "degraded": False}
    return Outcome(**usual | {"timings_ms": {}} | changes)


def draw(frame: Frame, digit: Digit | None, seen: Outcome | None, classes: int = 10) -> np.ndarray:
    overlay = Overlay("title", "subtitle", [str(k) for k in range(classes)])
    report = Report()
    report.add(seen, frame.truth.label if frame.truth else None)
    report.time({"find": 1.0, "purify": 2.0, "classify": 0.1, "total": 3.1})
    return overlay.draw(frame, digit, seen, report, dropped=0)


def frame(height: int = 480, width: int = 640, truth: int | None = None) -> Frame:
    pixels = np.full((height, width, 3), 120, np.uint8)
    return Frame(pixels, 0, None if truth is None else Truth(truth, (1, 2, 3, 4)))


NAN = np.full((1, 28, 28), np.nan, np.float32)
CASES = {
    "no digit": (frame(), None, None, 10),
    "no truth": (frame(), DIGIT, outcome(), 10),
    "right": (frame(truth=3), DIGIT, outcome(), 10),
    "wrong": (frame(truth=4), DIGIT, outcome(), 10),
    "no attack": (frame(), DIGIT, outcome(attacked=None), 10),
    "degraded": (frame(), DIGIT, outcome(purified=Stage(NAN, -1), chosen=-1, rmse=NAN[0, 0, :10], degraded=True), 10),
    "one class NaN": (frame(), DIGIT, outcome(rmse=np.array([0.1, np.nan, 0.0, 2.0], np.float32)), 4),
    "two classes": (frame(), DIGIT, outcome(label=1, classes=2), 2),
    "many classes": (frame(), DIGIT, outcome(label=900, classes=1000), 1000),
    "all distances zero": (frame(), DIGIT, outcome(rmse=np.zeros(10, np.float32)), 10),
    "portrait": (frame(1920, 1080), DIGIT, outcome(), 10),
    "one row": (frame(1, 4000), DIGIT, outcome(), 10),
    "one pixel": (frame(1, 1), DIGIT, outcome(), 10),
}


@pytest.mark.parametrize("case", CASES)
def test_every_frame_gives_a_picture(case: str) -> None:
    picture = draw(*CASES[case])
    assert picture.shape == (SIZE[1], SIZE[0], 3) and picture.dtype == np.uint8


def test_right_and_wrong_are_told_apart() -> None:
    assert not np.array_equal(draw(*CASES["right"]), draw(*CASES["wrong"]))


def test_the_bar_of_the_chosen_class_stands_out_whatever_its_distance() -> None:
    """The score decides, and it is not always the smallest RMSE."""
    pictures = [draw(frame(), DIGIT, outcome(chosen=chosen)) for chosen in (0, 7)]
    bars = [picture[500, 688 + 28 :: 57][:10] for picture in pictures]  # a pixel of each bar
    assert [k for k in range(10) if (bars[0][k] != bars[1][k]).any()] == [0, 7]


def test_the_frame_is_shown_as_it_is_without_a_digit() -> None:
    picture = draw(*CASES["no digit"])
    shown = picture[64 + 60 : 544, 24:664]  # below the note
    assert (shown == 120).all()


def test_the_tiles_show_the_images() -> None:
    picture = draw(*CASES["no truth"])
    tile = picture[96:272, 884:1060, 0]
    columns = tile[88, 3::6][:28].astype(int)
    assert (np.diff(columns) >= 0).all() and columns[0] < 10 and columns[-1] > 245
