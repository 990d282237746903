from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from demos import camera, video
from demos.play.overlay import SIZE
from puvae_rt.video.recording import RecordingSource


class Keyboard:
    """A window that presses keys: those at its n-th look, in turn."""

    script: ClassVar[list[list[str]]] = []
    shown: ClassVar[list[np.ndarray]] = []

    def __init__(self, title: str) -> None:
        self.looks, self.open = iter(self.script), True
        self.shown.clear()

    def show(self, picture: np.ndarray) -> bool:
        self.shown.append(picture.copy())
        return self.open

    def pressed(self) -> list[str]:
        keys = next(self.looks, ["close"])
        self.open = "close" not in keys
        return keys

    def close(self) -> None: ...


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> type[Keyboard]:
    monkeypatch.setattr(video, "Window", Keyboard)
    monkeypatch.setattr(video, "has_display", lambda: True)
    return Keyboard


def play(folder: Path, bundle: Path, clip: Path, *options: object) -> dict:
    out = ["--out", folder / "camera.mp4", "--json", folder / "camera.json", "--no-video"]
    assert camera.main([str(each) for each in ("--source", clip, "--bundle", bundle, *out, *options)]) == 0
    return json.loads((folder / "camera.json").read_text())


def test_keys_change_what_is_done(tmp_path: Path, means_bundle: Path, clip: Path, keyboard: type[Keyboard]) -> None:
    keyboard.script = [["a"], ["plus", "x"], ["p"], ["p", "r"], ["s"], [], ["r"], [], ["close"]]
    document = play(tmp_path, means_bundle, clip)
    assert document["frames"] == 9
    record, snapshot = tmp_path / "record-001.mcap", tmp_path / "snapshot-001.png"
    assert len(list(RecordingSource(record))) == 3
    assert cv2.imread(str(snapshot)).shape == (SIZE[1], SIZE[0], 3)
    titles = [picture[:60, :700] for picture in keyboard.shown]
    changes = [bool((a != b).any()) for a, b in itertools.pairwise(titles)]
    assert changes == [True, True, True, True, False, False, True, False]
    assert document["accuracy"]["attacked"] is not None


def test_a_pause_takes_no_frame(tmp_path: Path, means_bundle: Path, clip: Path, keyboard: type[Keyboard]) -> None:
    keyboard.script = [[], ["space"], [], [], ["space"], [], ["close"]]
    assert play(tmp_path, means_bundle, clip)["frames"] == 4


def test_an_attack_that_is_on_at_first_is_taken_away_and_comes_back(
    tmp_path: Path, means_bundle: Path, clip: Path, keyboard: type[Keyboard]
) -> None:
    keyboard.script = [["a"], ["a"], ["close"]]  # fgsm, ifgsm, none
    document = play(tmp_path, means_bundle, clip, "--attack", "fgsm")
    assert document["frames"] == 3 and document["attack"]["name"] == "fgsm"


def test_headless_it_is_the_video_demo(tmp_path: Path, means_bundle: Path, clip: Path) -> None:
    assert play(tmp_path, means_bundle, clip, "--headless", "--max-frames", 3)["frames"] == 3


def test_no_camera_is_told_in_one_line(tmp_path: Path, means_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--source", "97", "--bundle", str(means_bundle), "--headless", "--out", str(tmp_path / "a.mp4")]
    assert camera.main(options) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "camera 97: cannot be opened" in line and not (tmp_path / "a.mp4").exists()
