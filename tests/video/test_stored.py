"""Folders, and sources that are paced as a camera."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video.folder import FolderSource
from puvae_rt.video.frames import Frame, Truth
from puvae_rt.video.paced import PacedSource
from puvae_rt.video.policy import EVERY, LATEST
from puvae_rt.video.sources import AS_RECORDED, Pace, open_source
from tests.video import clips
from tests.video.cameras import jpeg

PIXELS = np.zeros((4, 4, 3), np.uint8)


class Clip:
    """Frames at uneven places, as many as asked for."""

    name, fps, dropped = "clip", 100.0, 0

    def __init__(self, seconds: list[float], slow: float = 0.0) -> None:
        self.seconds, self.slow, self.counts, self.closed = seconds, slow, {}, False

    def __iter__(self) -> Iterator[Frame]:
        for index, seconds in enumerate(self.seconds):
            time.sleep(self.slow)
            yield Frame(PIXELS, index, seconds=seconds)

    def close(self) -> None:
        self.closed = True


def test_images_of_a_folder_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        (tmp_path / f"frame{number}.jpg").write_bytes(jpeg(10 * number))
    cv2.imwrite(str(tmp_path / "frame11.png"), np.full((8, 6, 3), 200, np.uint8))
    (tmp_path / "frame2.jpg").write_bytes(jpeg(50)[:200])
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "truth.json").write_text(
        json.dumps({"ground_truth": [{"label": i, "box": [0, 0, 1, 1]} for i in range(5)]})
    )
    source = open_source(str(tmp_path), lambda: None)
    frames = list(source)
    assert [round(float(frame.image.mean())) for frame in frames] == [10, 90, 100, 200]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.truth for frame in frames] == [Truth(i, (0, 0, 1, 1)) for i in (0, 2, 3, 4)]
    assert source.counts == {"corrupt_frame": 1, "resized": 1}


def test_a_folder_of_damaged_images(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"noise")
    with pytest.raises(VideoError, match="none of its 1 images can be read"):
        list(FolderSource(tmp_path))


def test_frames_come_when_they_are_due_and_are_stamped_so() -> None:
    clip = Clip([0.0] * 5)
    source = PacedSource(clip, 50, EVERY)
    started, ages = time.monotonic(), []
    for frame in source:
        ages.append(time.monotonic() - frame.captured)
        assert frame.clock == "schedule"
    assert time.monotonic() - started >= 4 / 50 and min(ages) >= 0
    source.close()
    assert clip.closed and source.fps == 50


def test_a_source_paced_at_its_own_times() -> None:
    stamps = [frame.captured for frame in PacedSource(Clip([0.0, 0.01, 0.07]), None, EVERY)]
    assert [round(stamp - stamps[0], 6) for stamp in stamps] == [0, 0.01, 0.07]


def test_a_slow_consumer_sees_old_frames_or_fewer() -> None:
    """`every` lets them age, `latest` drops: neither hides that the consumer is too slow."""
    ages, dropped = {}, {}
    for policy in (EVERY, LATEST):
        source = PacedSource(Clip([0.0] * 20), 100, policy)
        for frame in source:
            time.sleep(0.03)
            ages[policy] = time.monotonic() - frame.captured
        dropped[policy] = source.dropped
    assert ages[EVERY] > 0.3 and dropped[EVERY] == 0
    assert ages[LATEST] < 0.3 and dropped[LATEST] >= 8


def test_a_source_that_is_late_itself_ages_its_frames() -> None:
    source = PacedSource(Clip([0.0] * 4, slow=0.05), 1000, EVERY)
    ages = [time.monotonic() - frame.captured for frame in source]
    assert ages[-1] > 0.1


def test_an_error_of_the_source_is_ours_and_closing_ends_the_thread(tmp_path: Path) -> None:
    whole = clips.index_first(clips.save(tmp_path / "whole.mp4", frames=20).read_bytes())
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    source = open_source(str(tmp_path / "cut.mp4"), lambda: None, pace=Pace(rate=1000), policy=EVERY)
    with pytest.raises(VideoError, match="cut short"):
        list(source)
    source.close()
    waiting = PacedSource(Clip([0.0, 50.0]), None)
    assert next(iter(waiting)).index == 0
    started = time.monotonic()
    waiting.close()
    assert time.monotonic() - started < 2


def test_a_file_at_its_own_times(tmp_path: Path) -> None:
    clip = clips.save(tmp_path / "clip.mp4", frames=5, fps=50)
    source = open_source(clip, lambda: None, pace=AS_RECORDED, policy=EVERY)
    stamps = [frame.captured for frame in source]
    source.close()
    assert np.allclose(np.diff(stamps), 0.02, atol=1e-3)
