from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from demos.play.sinks import Mp4Writer
from puvae_rt.errors import VideoError
from tests.video import clips


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


@pytest.mark.parametrize("fps", [1, 23.976, 24000 / 1001, 25, 29.97, 59.94, 120, 14.3333])
def test_what_was_written_is_there(tmp_path: Path, fps: float) -> None:
    path = clips.save(tmp_path / "new" / "folder" / "a.mp4", frames=7, fps=fps)
    assert len(frames_of(path)) == 7
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]


def test_an_error_leaves_a_playable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(KeyboardInterrupt), Mp4Writer(path, 25, clips.SIZE) as writer:
        for index in range(3):
            writer.write(clips.textured(index))
        raise KeyboardInterrupt
    assert len(frames_of(path)) == 3


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with Mp4Writer(path, 25, clips.SIZE) as writer:
        writer.write(clips.textured(0))
        assert path.read_bytes() == b"old"
    assert len(frames_of(path)) == 1


def test_nothing_written_leaves_nothing(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "a.mp4", 25, clips.SIZE):
        pass
    assert list(tmp_path.iterdir()) == []


def test_closing_twice(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "a.mp4", 25, clips.SIZE)
    writer.write(clips.textured(0))
    writer.close()
    writer.close()
    assert len(frames_of(tmp_path / "a.mp4")) == 1


def test_frames_of_another_size_are_not_dropped_silently(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "a.mp4", 25, clips.SIZE) as writer, pytest.raises(VideoError, match="expected"):
        writer.write(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("name, size", [("a.avi", (160, 120)), ("a.mp4", (161, 120)), ("a", (160, 120))])
def test_what_cannot_be_written(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    with pytest.raises(VideoError, match=r"expected \.mp4|even sides"):
        Mp4Writer(tmp_path / name, 25, size)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VideoError, match="cannot be made"):
        Mp4Writer(tmp_path / "file" / "a.mp4", 25, clips.SIZE)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process grows beyond 20 KB: writing fails as on a full disk."""
    resource = pytest.importorskip("resource", reason="no file size limit on this system")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 120, 160, 3), np.uint8)
    writer = Mp4Writer(tmp_path / "a.mp4", 25, clips.SIZE)
    for image in noise:
        writer.write(image)
    with pytest.raises(VideoError, match="is the disk full"):
        writer.close()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
from demos.play.sinks import Mp4Writer
from tests.video import clips
writer = Mp4Writer(Path(sys.argv[1]), 30, clips.SIZE)
for index in range(10**6):
    writer.write(clips.textured(index))
    print(index, flush=True)
"""


def test_a_matroska_file_of_a_killed_process_plays(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.strip() == "500":
                process.kill()
                break
    assert len(frames_of(path)) > 50


def test_a_matroska_file_is_written_in_place(tmp_path: Path) -> None:
    path = clips.save(tmp_path / "new" / "a.mkv", frames=40)
    assert len(frames_of(path)) == 40 and [each.name for each in path.parent.iterdir()] == ["a.mkv"]
    with Mp4Writer(tmp_path / "b.mkv", 25, clips.SIZE):
        pass
    assert not (tmp_path / "b.mkv").exists()
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match="cannot be made or written"):
        Mp4Writer(tmp_path / "file" / "a.mkv", 25, clips.SIZE)
