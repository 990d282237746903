from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from demos import video
from demos.play import race as race_module
from demos.play.defense import Outcome, Stage
from demos.play.overlay import SIZE
from demos.play.race import BUDGETS, DONE, GAN, PUVAE, Race
from demos.play.race_panel import draw_race
from demos.play.synthetic import Samples
from puvae_rt.errors import VideoError
from puvae_rt.evaluation.gan_racer import at_budgets
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.video.frames import Frame, Truth
from tests.video.cameras import until

BASELINES = Path(__file__).parents[2] / "results" / "baselines"
NAMES = ["33", "100", "1000", DONE]


def test_the_latest_result_at_each_budget() -> None:
    def results() -> object:
        for level in (0.0, 1.0, 2.0):
            time.sleep(0.05)
            yield np.full((1, 1, 2, 2), level, np.float32)

    found = list(at_budgets(results(), [10.0, 75.0, 5000.0], time.perf_counter()))
    assert [(each["budget_ms"], each["step"]) for each in found] == [(10, -1), (75, 0), (5000, 2), (None, 2)]
    assert found[0]["image"] is None and found[0]["ms"] == 0 and found[3]["ms"] >= 150


def outcome(samples: Samples, index: int, label: int, ms: float) -> Outcome:
    image = samples.images[index].astype(np.float32) / 255
    stage = Stage(image, 0)
    timings = {"attack": 5.0, "purify": ms, "classify": 0.0}
    return Outcome(stage, stage, Stage(image, label), label, np.zeros(10, np.float32), False, timings)


def test_both_are_counted_at_each_budget_until_the_worker_ends(samples: Samples) -> None:
    frame = Frame(np.zeros((4, 4, 3), np.uint8), 0, Truth(int(samples.labels[0]), (0, 0, 1, 1)))
    with Purifier.load("mnist", threads=1) as purifier:
        race = Race(BASELINES, "mnist", purifier.classifier, steps=4, restarts=2)
        try:
            race(frame, outcome(samples, 0, frame.truth.label, ms=50), 1.0)
            until(lambda: (race(frame, None, 1.0), race.rounds)[1] == 1, 60)
            picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            draw_race(picture, race, purifier.classes)
            assert picture[340:540, 690:].std() > 5
            race._process.kill()
            with pytest.raises(VideoError, match="process has ended"):
                until(lambda: race(frame, outcome(samples, 0, 1, 1), 1.0))
        finally:
            race.close()
    document = race.document()
    right_before = float(frame.truth.label == 0)
    assert document["accuracy"][PUVAE] == {"33": right_before, "100": 1.0, "1000": 1.0, DONE: 1.0}
    assert list(document["accuracy"][GAN]) == NAMES and document["judged"] == 1
    assert document["ratio"] == pytest.approx(document["ms"][GAN]["p50"] / 50)
    assert document["form"].startswith("PyTorch") and document["budgets_ms"] == BUDGETS
    assert race._process.poll() is not None


def test_what_is_missing_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"defense_gan\.safetensors: no such file; give .*--baselines"):
        Race(tmp_path, "mnist", None, 1, 1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VideoError, match=r"PyTorch is not installed; install it with .*\[train\]"):
        Race(BASELINES, "mnist", None, 1, 1)


@pytest.mark.long
def test_a_demo_with_a_race(tmp_path: Path, means_bundle: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_module, "STEPS", 2)
    monkeypatch.setattr(race_module, "RESTARTS", 1)
    out = tmp_path / "race.mp4"
    options = ["--source", clip, "--bundle", means_bundle, "--attack", "fgsm", "--headless", "--rate", "10"]
    files = ["--baselines", BASELINES, "--out", out, "--json", tmp_path / "race.json"]
    assert video.main([str(each) for each in [*options, *files, "--race", "defense_gan"]]) == 0
    document = json.loads((tmp_path / "race.json").read_text())["race"]
    assert document["rounds"] >= 2 and document["judged"] == document["rounds"] and document["ratio"] > 0
    assert cv2.VideoCapture(str(out)).isOpened()
