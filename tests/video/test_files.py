from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video.files import FileSource
from puvae_rt.video.frames import Truth
from puvae_rt.video.sources import open_source
from puvae_rt.video.truth import truth_path, write_truth
from tests import tolerances
from tests.video import clips


def no_synthetic() -> FileSource:
    raise AssertionError("not asked for")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.save(tmp_path / "clip.mp4")


def test_every_frame_in_order(clip: Path) -> None:
    source = open_source(str(clip), no_synthetic)
    frames = list(source)
    source.close()
    assert source.fps == 25 and source.dropped == 0
    assert [frame.index for frame in frames] == list(range(40))
    for frame in frames:
        difference = np.abs(frame.image.astype(float) - clips.textured(frame.index)).mean()
        assert difference < tolerances.MPEG4_MEAN_LEVELS
        assert frame.truth is None


def test_truth_beside_the_clip(clip: Path) -> None:
    truths = [Truth(index % 10, (1, 2, 3, 4)) for index in range(39)] + [Truth(None, None)]
    write_truth(truth_path(clip), truths)
    assert [frame.truth for frame in FileSource(clip)] == truths


def test_truth_of_another_clip(clip: Path) -> None:
    write_truth(truth_path(clip), [Truth(1, (1, 2, 3, 4))] * 10)
    with pytest.raises(VideoError, match="tells of 10 frames"):
        list(FileSource(clip))


NOT_TRUTH = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "list of what": '{"ground_truth": 3}',
    "label": '{"ground_truth": [{"label": "3", "box": [1, 2, 3, 4]}]}',
    "negative label": '{"ground_truth": [{"label": -1, "box": [1, 2, 3, 4]}]}',
    "huge label": '{"ground_truth": [{"label": 1e99, "box": [1, 2, 3, 4]}]}',
    "true is no label": '{"ground_truth": [{"label": true, "box": [1, 2, 3, 4]}]}',
    "box": '{"ground_truth": [{"label": 3, "box": [1, 2, 3]}]}',
    "frame": '{"ground_truth": [7]}',
}


@pytest.mark.parametrize("text", NOT_TRUTH.values(), ids=NOT_TRUTH)
def test_damaged_truth(clip: Path, text: str) -> None:
    truth_path(clip).write_text(text)
    with pytest.raises(VideoError, match="make the clip again"):
        FileSource(clip)


def test_json_of_something_else_is_named_and_left_alone(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth_path(clip).write_text('{"frames": 40, "fps": 30.0}')
    assert next(iter(FileSource(clip))).truth is None
    assert "accuracy is not measured" in caplog.text


def test_a_file_cut_short_says_so_after_its_last_good_frame(clip: Path) -> None:
    video = clips.index_first(clip.read_bytes())
    clip.write_bytes(video[: int(0.6 * len(video))])
    assert_breaks_off(clip)


def test_damage_in_the_middle_is_an_error_not_an_end(clip: Path) -> None:
    clip.write_bytes(clips.scrambled(clip.read_bytes()))
    assert_breaks_off(clip)


def assert_breaks_off(clip: Path) -> None:
    seen = []
    with pytest.raises(VideoError, match=r"got \d+ frames, expected 40"):
        seen.extend(iter(FileSource(clip)))
    assert len(seen) < 40
    assert all(frame.image.mean() > 20 for frame in seen)  # none black


def hostile(clip: Path) -> dict[str, bytes]:
    video = clip.read_bytes()
    return {
        "empty": b"",
        "noise": np.random.default_rng(1).integers(0, 256, 5000, np.uint8).tobytes(),
        "no index": video[: len(video) // 2],
        "text": b"#!/bin/sh\nexit 1\n",
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "huge": clips.raw_video(20_000, 20_000),
        "long row": clips.raw_video(1_000_000, 1),
        "nothing wide": clips.raw_video(0, 16),
    }


@pytest.mark.parametrize("case", ["empty", "noise", "no index", "text", "playlist", "huge", "long row", "nothing wide"])
def test_hostile_files(clip: Path, case: str) -> None:
    clip.write_bytes(hostile(clip)[case])
    with pytest.raises(VideoError, match=r"clip\.mp4: "):
        list(FileSource(clip))


@pytest.mark.parametrize("what", ["absent.mp4", "folder", "http%3A//example.org/%d.png"])
def test_paths_that_are_no_file(tmp_path: Path, what: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(VideoError, match="expected a video file, a camera's index, a URL"):
        open_source(str(tmp_path / what), no_synthetic)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(VideoError, match="not a regular file"):
        open_source(str(tmp_path / "pipe"), no_synthetic)


def test_strange_names_are_names(tmp_path: Path) -> None:
    """Neither a number pattern nor a protocol."""
    for name in ("clip%03d.mp4", "concat:a|b.mp4"):
        assert len(list(FileSource(clips.save(tmp_path / name, frames=3)))) == 3
