from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demos import make_clip
from demos.play.digits import find_digit
from demos.play.synthetic import Samples, SyntheticClip
from puvae_rt.video.files import FileSource


@pytest.fixture
def npz(samples: Samples, tmp_path: Path) -> Path:
    np.savez(tmp_path / "samples.npz", images=samples.images, labels=samples.labels)
    return tmp_path / "samples.npz"


def test_the_clip_and_its_truth_match(samples: Samples, npz: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    command = ["--samples", str(npz), "--frames", "6", "--hold", "2", "--seed", "3", "--out", str(path)]
    assert make_clip.main(command) == 0
    filmed, original = list(FileSource(path)), list(SyntheticClip(samples, frames=6, hold=2, seed=3))
    assert [frame.truth for frame in filmed] == [frame.truth for frame in original]
    for frame in filmed:  # compressed, yet the digit is still there
        digit = find_digit(frame.image)
        assert digit is not None
        assert np.abs(np.subtract(digit.box, frame.truth.box)).max() < 12  # pixels


def test_a_model_that_ships_no_images(signs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_clip.main(["--model", signs, "--out", str(tmp_path / "a.mp4")]) == 2
    assert "model 'signs' ships no test images to film, expected a model with samples.npz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_clip.main(["--samples", str(tmp_path / "absent.npz"), "--out", str(tmp_path / "a.mp4")]) == 2
    assert "absent.npz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
