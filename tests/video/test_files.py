from __future__ import annotations

import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video.container import Layout, read_layout
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


@pytest.mark.parametrize("hidden", [1, 13, 35])
def test_a_trimmed_clip_is_whole(clip: Path, hidden: int) -> None:
    """Lossless cuts, as phones make them, keep the frames that they hide."""
    clip.write_bytes(clips.trimmed(clip.read_bytes(), hidden))
    assert cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT) == 40
    assert read_layout(clip).shown == 40 - hidden
    assert len(list(FileSource(clip))) == 40 - hidden


def test_a_trimmed_clip_that_is_cut_short(clip: Path) -> None:
    video = clips.trimmed(clips.index_first(clip.read_bytes()), 10)
    clip.write_bytes(video[: int(0.6 * len(video))])
    with pytest.raises(VideoError, match=r"got \d+ frames, expected 30; the file is damaged or cut short"):
        list(FileSource(clip))


CONTAINERS = {"mkv": "mp4v", "webm": "VP80", "avi": "MJPG", "flv": "FLV1", "mov": "mp4v"}


@pytest.mark.parametrize("suffix, codec", CONTAINERS.items(), ids=CONTAINERS)
def test_containers_whole_and_cut(tmp_path: Path, suffix: str, codec: str, caplog: pytest.LogCaptureFixture) -> None:
    path = clips.save_as(tmp_path / f"clip.{suffix}", codec)
    assert len(list(FileSource(path))) == 40
    assert not read_layout(path).cut and not caplog.records
    video = path.read_bytes()
    path.write_bytes(video[: int(0.6 * len(video))])
    assert read_layout(path).cut
    with pytest.raises(VideoError, match="cut short"):
        list(FileSource(path))


def test_a_header_that_promises_too_much_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = clips.save_as(tmp_path / "clip.mkv", "mp4v")
    path.write_bytes(clips.lengthened(path.read_bytes(), 3))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 120
    assert len(list(FileSource(path))) == 40
    assert "its header announced 120 frames, its end came after 40" in caplog.text


def test_a_video_that_cannot_be_decoded_is_not_called_cut_short(clip: Path) -> None:
    """As AV1 where FFmpeg was built without it."""
    video = clip.read_bytes()
    entry = video.find(b"stsd") + 16  # the codec that its samples are said to be of
    assert video[entry : entry + 4] == b"mp4v"
    clip.write_bytes((video[:entry] + b"av01" + video[entry + 4 :]).replace(b"esds", b"free"))
    with pytest.raises(VideoError, match=r"got 0 frames, expected 40; .* \(its codec is (av01|AV01)\) to H\.264"):
        list(FileSource(clip))


def test_layouts_of_damaged_files_tell_nothing_and_raise_nothing(clip: Path, tmp_path: Path) -> None:
    files = [clip, *(clips.save_as(tmp_path / f"c.{suffix}", codec, 3) for suffix, codec in CONTAINERS.items())]
    random = np.random.default_rng(0)
    for path in files:
        video = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(video[: int(random.integers(0, len(video) + 1))])
            for at in random.integers(0, max(1, len(damaged)), 20):
                damaged[at : at + 1] = random.bytes(1) if damaged else b""
            path.write_bytes(damaged)
            layout = read_layout(path)
            assert layout.shown is None or layout.shown >= 0
    assert read_layout(tmp_path) == read_layout(tmp_path / "absent") == Layout()


def test_a_still_screen_with_sound_is_read_to_its_end() -> None:
    """OpenCV gives up after 4,096 packets of sound between two pictures, unless it is told otherwise."""
    assert int(os.environ["OPENCV_FFMPEG_READ_ATTEMPTS"]) >= 1_000_000


@pytest.mark.parametrize("suffix", ["txt", "asc", "nfo"])
def test_texts_are_no_videos(tmp_path: Path, suffix: str) -> None:
    """FFmpeg would paint them as a terminal does."""
    (tmp_path / f"read.{suffix}").write_text("words\n" * 200)
    with pytest.raises(VideoError, match=r"got a text, expected a video|no readable video"):
        FileSource(tmp_path / f"read.{suffix}")


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


def special(folder: Path) -> dict[str, Path]:
    paths = {name: folder / name for name in ("folder", "pipe", "socket", "link", "name\udcff.mp4")}
    paths["folder"].mkdir()
    os.mkfifo(paths["pipe"])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(paths["socket"]))
    paths["link"].symlink_to("nothing")
    clips.save(folder / "clip.mp4", frames=2).rename(paths["name\udcff.mp4"])
    (folder / "file").touch()
    paths |= {"below": folder / "file" / "clip.mp4", "long": folder / ("a" * 300), "nul": folder / "a\0b"}
    return paths | {"device": Path("/dev/null"), "secret": Path("rtsp:/admin:hidden@camera/live")}


SPECIAL = {
    "folder": "got a folder without images",
    "pipe": "got a FIFO, not a regular file",
    "socket": "got a socket, not a regular file",
    "device": "got a device, not a regular file; a camera is given by its index",
    "link": "a symbolic link to nothing",
    "name\udcff.mp4": "got a name that is not UTF-8",
    "below": "cannot be read",
    "long": "cannot be read",
    "nul": "cannot be read|no such file",
    "secret": r"rtsp:/\*\*\*@camera/live: no such file",
}


@pytest.mark.parametrize("case", SPECIAL)
def test_what_is_no_file_is_named(tmp_path: Path, case: str) -> None:
    """None is waited for, none ends the process."""
    with pytest.raises(VideoError, match=SPECIAL[case]) as refused:
        open_source(str(special(tmp_path)[case]), no_synthetic)
    assert "expected a video file, a camera's index, a URL" in str(refused.value) or "UTF-8" in str(refused.value)
    str(refused.value).encode("utf-8")


def test_strange_names_are_names(tmp_path: Path) -> None:
    """Neither a number pattern nor a protocol."""
    for name in ("clip%03d.mp4", "concat:a|b.mp4"):
        assert len(list(FileSource(clips.save(tmp_path / name, frames=3)))) == 3
