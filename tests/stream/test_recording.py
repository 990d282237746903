from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.errors import ContractError, VideoError
from puvae_rt.stream.flight import FlightRecorder
from puvae_rt.video.frames import Frame, Truth
from puvae_rt.video.policy import EVERY
from puvae_rt.video.recording import NOTES, Recorder, RecordingSource
from puvae_rt.video.sources import AS_RECORDED, open_source
from tests.video import clips
from tests.video.cameras import until

SECRET = "hidden"


def frame(index: int, seconds: float = 0.0) -> Frame:
    return Frame(clips.textured(index), index, Truth(index % 10, (1, 2, 3, 4)), 1000 + seconds, "v4l2")


def record(path: Path, seconds: list[float]) -> Path:
    with Recorder(path, f"rtsp://admin:{SECRET}@camera/x") as recorder:
        for index, each in enumerate(seconds):
            recorder.write(frame(index, each), {"score": 0.5, "label": index})
    return path


def test_a_run_is_repeated_with_its_timing(tmp_path: Path) -> None:
    path = record(tmp_path / "new" / "run.mcap", [0, 0.02, 0.09])
    source = open_source(str(path), lambda: None)
    frames = list(source)
    for index, got in enumerate(frames):
        np.testing.assert_array_equal(got.image, clips.textured(index))
        assert got.truth == Truth(index, (1, 2, 3, 4))
    assert [got.seconds for got in frames] == pytest.approx([0, 0.02, 0.09], abs=1e-6)
    paced = open_source(path, lambda: None, pace=AS_RECORDED, policy=EVERY)
    stamps = [got.captured for got in paced]
    assert np.diff(stamps) == pytest.approx([0.02, 0.07], abs=1e-6)
    assert SECRET.encode() not in path.read_bytes()


def test_other_readers_find_frames_and_notes(tmp_path: Path) -> None:
    from mcap.reader import make_reader

    path = record(tmp_path / "run.mcap", [0, 0.5])
    with path.open("rb") as file:
        found = [(c.topic, s.name, json.loads(m.data)) for s, c, m in make_reader(file).iter_messages()]
    assert [topic for topic, *_ in found] == ["/camera", NOTES] * 2
    assert found[0][1] == "foxglove.CompressedImage" and found[0][2]["format"] == "png"
    assert found[3][2] == {"index": 1, "score": 0.5, "label": 1}


def test_a_clock_that_jumps_moves_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recorder(tmp_path / "run.mcap", "camera") as recorder:
        recorder.write(frame(0, 0.0))
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        monkeypatch.setattr(time, "time", lambda: 0.0)
        recorder.write(frame(1, 0.25))
    seconds = [got.seconds for got in RecordingSource(tmp_path / "run.mcap")]
    assert seconds == pytest.approx([0, 0.25], abs=1e-6)


KILLED = """
import sys, time
from pathlib import Path
from puvae_rt.video.recording import Recorder
from tests.stream.test_recording import frame
recorder = Recorder(Path(sys.argv[1]), "camera")
for index in range(10**6):
    recorder.write(frame(index, index / 30))
    print(index, flush=True)
"""


def test_what_a_killed_process_has_recorded_can_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.strip() == "9":
                process.kill()
                break
    frames = list(RecordingSource(path))
    assert len(frames) >= 10
    np.testing.assert_array_equal(frames[9].image, clips.textured(9))


def test_a_full_disk_is_told_and_what_was_written_is_kept(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"No space left on device\) after 0 frames"), Recorder(Path("/dev/full"), "x"):
        pass
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, "camera")
    for index in range(3):
        recorder.write(frame(index, index))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a file that may not grow is an error of the write
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1000, limits[1]))
        with pytest.raises(VideoError, match=r"File too large\) after 3 frames.*can be replayed"):
            recorder.write(frame(3, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert len(list(RecordingSource(path))) == 3


def test_damage_is_no_frame_and_no_crash(tmp_path: Path) -> None:
    whole, draw = record(tmp_path / "run.mcap", [0, 1, 2]).read_bytes(), random.Random(0)
    path, counts = tmp_path / "damaged.mcap", set()
    for _ in range(60):
        data = bytearray(whole[: draw.randrange(len(whole))] if draw.random() < 0.5 else whole)
        for _ in range(draw.randrange(1, 6)):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(bytes(data))
        try:
            counts.add(len(list(RecordingSource(path))))
        except VideoError:
            counts.add(0)
    assert {0, 1} <= counts <= {0, 1, 2, 3}


def test_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.mcap").write_bytes(b"noise")
    with pytest.raises(VideoError, match="got no frame"):
        list(open_source(tmp_path / "a.mcap", lambda: None))
    with pytest.raises(VideoError, match="cannot be read"):
        open_source(tmp_path / "absent.mcap", lambda: None)
    with pytest.raises(VideoError, match="cannot be written"):
        Recorder(tmp_path / "a.mcap" / "b.mcap", "camera")


def fly(folder: Path, alarms: set[int], frames: int = 40, **limits: int) -> FlightRecorder:
    with FlightRecorder(folder, "camera", before=3, after=2, **limits) as recorder:
        for index in range(frames):
            recorder.add(frame(index, index / 30), {"score": index}, alarm=index in alarms)
            until(lambda: recorder._jobs.empty())
    return recorder


def indices(path: Path) -> list[int]:
    return [got.truth.label for got in RecordingSource(path)]


def test_frames_around_each_alarm(tmp_path: Path) -> None:
    recorder = fly(tmp_path, {5, 6, 25})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["alarm-0001.mcap", "alarm-0002.mcap"]
    assert indices(tmp_path / "alarm-0001.mcap") == [2, 3, 4, 5, 6, 7]
    assert indices(tmp_path / "alarm-0002.mcap") == [2, 3, 4, 5, 6, 7]
    assert (recorder.written, recorder.skipped, recorder.error) == (2, 0, None)


def test_alarms_are_bounded_in_rate_and_size(tmp_path: Path) -> None:
    recorder = fly(tmp_path / "rate", {5, 15, 25, 35}, per_minute=2)
    assert (recorder.written, recorder.skipped) == (2, 2)
    recorder = fly(tmp_path / "size", {5, 15, 25}, most_bytes=20_000)
    assert recorder.written >= 1 and recorder.skipped >= 1
    assert sum(path.stat().st_size for path in (tmp_path / "size").iterdir()) < 80_000


def test_a_disk_that_fails_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    recorder = fly(tmp_path / "file", {5, 20})
    assert recorder.written == 0 and "cannot be written" in str(recorder.error)
    with pytest.raises(ContractError):
        FlightRecorder(tmp_path, "camera", before=0)


def test_without_its_package_a_recorder_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcap"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcap", None)
    for make in (lambda: Recorder(tmp_path / "a.mcap", "camera"), lambda: FlightRecorder(tmp_path, "camera")):
        with pytest.raises(ModuleNotFoundError) as absent:
            make()
        assert absent.value.name.partition(".")[0] == "mcap"
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "cache"])
