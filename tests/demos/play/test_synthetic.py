from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from demos.play.synthetic import Samples, SyntheticClip, load_samples
from puvae_rt.errors import DataError


def test_the_same_seed_gives_the_same_clip(samples: Samples) -> None:
    first, again = (list(SyntheticClip(samples, frames=4, hold=2, width=160, height=120, seed=5)) for _ in range(2))
    other = next(iter(SyntheticClip(samples, frames=1, width=160, height=120, seed=6)))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        assert one.truth == two.truth
    assert not np.array_equal(first[0].image, other.image)


def test_frames_and_truth(samples: Samples) -> None:
    clip = SyntheticClip(samples, frames=7, hold=3, width=320, height=240)
    frames = list(clip)
    assert len(clip) == len(frames) == 7
    assert [frame.index for frame in frames] == list(range(7))
    assert len({frame.truth.label for frame in frames[:3]}) == 1  # one card for `hold` frames
    for frame in frames:
        assert frame.image.shape == (240, 320, 3) and frame.image.dtype == np.uint8
        x, y, w, h = frame.truth.box
        assert x >= 0 and y >= 0 and x + w <= 320 and y + h <= 240 and w > 0 and h > 0


def test_frames_differ_as_from_a_camera(samples: Samples) -> None:
    one, two = SyntheticClip(samples, frames=2, hold=2, width=320, height=240)
    assert 1 < np.abs(one.image.astype(int) - two.image).mean() < 60


def damaged(folder: Path) -> dict[str, Path]:
    names = ("absent", "cut", "wrong", "short", "pipe", "large", "none", "objects", "letters", "eleven", "promises")
    cases = {name: folder / f"{name}.npz" for name in names}
    os.mkfifo(cases["pipe"])
    np.savez_compressed(cases["large"], images=np.zeros((1, 1, 17_000, 17_000), np.uint8), labels=np.zeros(1, np.int64))
    np.savez(cases["none"], images=np.zeros((0, 1, 28, 28), np.uint8), labels=np.zeros(0, np.int64))
    np.savez(cases["objects"], images=np.array([{}]), labels=np.zeros(1, np.int64))
    np.savez(cases["letters"], images=np.zeros((1, 1, 28, 28), np.uint8), labels=np.array(["a"]))
    np.savez(cases["eleven"], images=np.zeros((1, 1, 28, 28), np.uint8), labels=np.array([11]))
    with zipfile.ZipFile(cases["promises"], "w") as archive, archive.open("images.npy", "w") as images:
        header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 50, 1, 28, 28)}
        np.lib.format.write_array_header_2_0(images, header)
    np.savez(cases["cut"], images=np.zeros((3, 1, 28, 28), np.uint8), labels=np.zeros(3, np.int64))
    cases["cut"].write_bytes(cases["cut"].read_bytes()[:200])
    np.savez(cases["wrong"], images=np.zeros((3, 28, 28), np.float32), labels=np.zeros(3, np.int64))
    np.savez(cases["short"], images=np.zeros((3, 1, 28, 28), np.uint8), labels=np.zeros(2, np.int64))
    return cases


@pytest.mark.parametrize("case", range(11))
def test_damaged_samples_are_refused(case: int, tmp_path: Path) -> None:
    name, path = list(damaged(tmp_path).items())[case]
    with pytest.raises(DataError, match=name):
        load_samples(path)
