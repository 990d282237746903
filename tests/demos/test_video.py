from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from demos import video
from demos.play.overlay import SIZE
from demos.play.synthetic import Samples
from puvae_rt.evaluation.detection import evidence
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.stream.detection import Detector
from puvae_rt.video.recording import RecordingSource
from puvae_rt.video.truth import truth_path
from tests.runtime import toy
from tests.video import clips
from tests.video.cameras import until


def frames_in(path: Path) -> int:
    """Frames that can really be decoded, all of the overlay's size."""
    capture, count = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), 0
    while (read := capture.read())[0]:
        assert read[1].shape == (SIZE[1], SIZE[0], 3)
        count += 1
    return count


class Demo:
    """The command with its outputs in one folder."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.video, self.json = folder / "out" / "demo.mp4", folder / "out" / "demo.json"
        self.options = ["--bundle", bundle, "--out", self.video, "--json", self.json, "--headless", "--threads", 1]

    def arguments(self, source: object, *options: object) -> list[str]:
        return [str(option) for option in ("--source", source, *self.options, *options)]

    def __call__(self, source: object, *options: object) -> int:
        return video.main(self.arguments(source, *options))

    @property
    def document(self) -> dict:
        return json.loads(self.json.read_text())


@pytest.fixture
def demo(tmp_path: Path, means_bundle: Path) -> Demo:
    return Demo(tmp_path, means_bundle)


@pytest.mark.parametrize("attack", ["fgsm", "ifgsm"])
def test_an_attacked_clip_is_purified(demo: Demo, clip: Path, attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(clip, "--attack", attack) == 0
    document = demo.document
    assert {"frames", "fps", "accuracy", "latency_ms", "dropped", "degraded"} <= document.keys()
    assert document["frames"] == frames_in(demo.video) == 24
    assert document["dropped"] == document["degraded"] == 0 and document["error"] is None
    accuracy = document["accuracy"]
    assert accuracy["clean"] > 0.7 and accuracy["attacked"] < 0.2 and accuracy["purified"] > 0.4
    latency = document["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99_9"] <= latency["max"]
    assert document["attack"] == {"name": attack, "epsilon": 0.3, "seed": 0, "targeted": True}
    printed = capsys.readouterr().out
    assert f"purified {100 * accuracy['purified']:.1f}%" in printed and "p99.9" in printed
    assert str(demo.video) in printed


def test_the_same_seed_gives_the_same_accuracies(demo: Demo, clip: Path) -> None:
    seen = []
    for seed in (1, 1):
        assert demo(clip, "--attack", "fgsm", "--seed", seed, "--epsilon", 0.05) == 0
        seen.append(demo.document["accuracy"])
    assert seen[0] == seen[1]


def test_without_attack_and_without_truth(demo: Demo, clip: Path, tmp_path: Path) -> None:
    bare = shutil.copy(clip, tmp_path / "bare.mp4")
    assert demo(bare, "--max-frames", 5) == 0
    document = demo.document
    assert document["accuracy"] == {"clean": None, "attacked": None, "purified": None}
    assert document["frames"] == frames_in(demo.video) == 5
    assert document["without_digit"] == 0


def test_threads_may_be_measured(demo: Demo, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    assert demo(clip, "--attack", "fgsm", "--max-frames", 2, "--threads", "auto") == 0
    assert isinstance(demo.document["threads"], int) and demo.document["threads"] >= 1


def test_a_video_without_digits_is_shown_as_it_is(demo: Demo, tmp_path: Path) -> None:
    assert demo(clips.save(tmp_path / "scene.mp4", frames=6), "--attack", "fgsm") == 0
    document = demo.document
    assert document["frames"] == document["without_digit"] == frames_in(demo.video) == 6
    assert document["latency_ms"]["p50"] is None and document["accuracy"]["attacked"] is None


def test_degraded_frames_are_counted(demo: Demo, clip: Path, tmp_path: Path) -> None:
    nan = toy.save_bundle(tmp_path / "nan", template=float("nan"))
    assert demo(clip, "--bundle", nan, "--max-frames", 3) == 0
    assert demo.document["degraded"] == demo.document["frames"] == 3
    assert demo.document["accuracy"]["purified"] == 0


def test_a_damaged_clip_keeps_what_was_good_and_fails(
    demo: Demo, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = clips.index_first(clip.read_bytes())
    damaged = tmp_path / "clip.mp4"
    damaged.write_bytes(whole[: len(whole) // 2])
    shutil.copy(truth_path(clip), truth_path(damaged))
    assert demo(damaged, "--attack", "fgsm") == 2
    document = demo.document
    assert 0 < document["frames"] == frames_in(demo.video) < 24
    assert "expected 24" in document["error"] and "expected 24" in capsys.readouterr().err


MISTAKES = {
    "no such file": ("absent.mp4", [], "no such file"),
    "no camera": ("97", [], "camera 97"),
    "protocol": ("ftp://host/a", [], "expected one of rtsp"),
    "epsilon": (None, ["--attack", "fgsm", "--epsilon", 3], "epsilon=3"),
    "out": (None, ["--out", "demo.avi"], "expected .mp4"),
    "bundle": (None, ["--bundle", "absent/bundle"], "no manifest.json"),
    "model": ("synthetic", ["--model", "minst"], "minst"),
    "threads": (None, ["--threads", 0], "--threads 0: expected at least 1"),
    "classifier": (None, ["--classifier", "absent.onnx"], "absent.onnx"),
}


@pytest.mark.parametrize("source, options, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_one_line(
    demo: Demo, clip: Path, capfd: pytest.CaptureFixture[str], source: str | None, options: list, message: str
) -> None:
    assert demo(source or clip, *options) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not demo.json.exists() and not demo.video.exists()


def test_a_model_that_ships_no_images_cannot_be_filmed(
    demo: Demo, signs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo("synthetic", "--model", signs) == 2
    assert "model 'signs' ships no test images to film" in (error := capsys.readouterr().err) and "make-clip" in error
    assert not demo.json.exists() and not demo.video.exists()


@pytest.mark.parametrize("arguments", [["--attack", "pgd"], ["--max-frames", "0"], ["--max-frames", "-3"]])
def test_bad_options(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        video.main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminate"])
def test_an_interrupt_leaves_a_playable_file(demo: Demo, tmp_path: Path, number: signal.Signals) -> None:
    """A long clip, stopped while it plays."""
    long = clips.save(tmp_path / "long.mp4", frames=800)
    command = [sys.executable, "-m", "demos.video", *demo.arguments(long)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_frames(demo.video.parent, process)
        process.send_signal(number)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "stopped" in printed
    assert 0 < demo.document["frames"] == frames_in(demo.video) < 800
    assert sorted(path.name for path in demo.video.parent.iterdir()) == ["demo.json", "demo.mp4"]


def wait_for_frames(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until the video in the making holds some data."""
    for _ in range(600):
        if any(path.stat().st_size > 1000 for path in folder.glob(".puvae-*/**/*.mp4")):
            return
        assert process.poll() is None, process.stderr
        time.sleep(0.1)
    raise AssertionError("the demo wrote nothing for a minute")


def test_a_closed_window_ends_the_demo(demo: Demo, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    class Closing:
        def __init__(self, title: str) -> None: ...

        def show(self, picture: np.ndarray) -> bool:
            shown.append(picture)
            return len(shown) < 4

        def close(self) -> None:
            shown.append("closed")

    monkeypatch.setattr(video, "Window", Closing)
    monkeypatch.setattr(video, "has_display", lambda: True)
    demo.options.remove("--headless")
    assert demo(clip) == 0
    assert len(shown) == 5 and shown[-1] == "closed"
    assert demo.document["frames"] == frames_in(demo.video) == 4


def test_a_display_that_fails_is_told_and_done_without(
    demo: Demo, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", ":97")
    demo.options.remove("--headless")
    assert demo(clip, "--max-frames", 2) == 0
    assert "no window: " in capsys.readouterr().err
    assert frames_in(demo.video) == 2


def test_a_run_at_a_camera_s_rate_keeps_or_misses_its_deadline(demo: Demo, clip: Path) -> None:
    assert demo(clip, "--rate", 50, "--slo", "30s", "--policy", "every", "--no-video") == 0
    document = demo.document
    assert document["slo"] == {"ms": 30000, "missed": 0, "kept": True} and document["clock"] == {"schedule": 24}
    assert document["read"] == document["frames"] == 24 and document["failed"] == 0
    assert 0 < document["age_ms"]["p50"] <= document["age_ms"]["p99_9"] <= document["age_ms"]["max"]
    assert not demo.video.exists()
    assert demo(clip, "--rate", 400, "--slo", "0.01ms", "--no-video") == 1
    document = demo.document
    assert document["slo"]["kept"] is False and document["slo"]["missed"] == document["frames"]
    assert document["read"] == document["frames"] + document["dropped"]


def test_a_late_frame_is_shown_as_it_came(demo: Demo, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(clip, "--slo", "0.01ms", "--degraded", "passthrough", "--max-frames", 3) == 1
    document = demo.document
    assert document["degraded"] == 3 and document["degraded_by"] == {"deadline": 3}
    assert document["accuracy"]["purified"] == document["accuracy"]["clean"]
    assert "deadline          0.01 ms missed" in capsys.readouterr().out
    assert demo(clip, "--slo", "0.01ms", "--degraded", "stop", "--no-video") == 2
    assert "the mode is stop" in demo.document["error"]


def test_a_demo_of_some_seconds(demo: Demo) -> None:
    started = time.monotonic()
    assert demo("synthetic", "--duration", 0.5, "--rate", 20, "--no-video") == 0
    assert 5 <= demo.document["read"] <= 12 and time.monotonic() - started < 20


@pytest.mark.parametrize(
    "flag, value", [("--slo", "fast"), ("--rate", "0"), ("--policy", "newest"), ("--duration", "-1")]
)
def test_bad_times(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        video.main([flag, value])
    assert "expected" in capsys.readouterr().err


def test_a_recorded_run_is_repeated(demo: Demo, clip: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.mcap"
    assert demo(clip, "--attack", "fgsm", "--record", run, "--rate", 40, "--policy", "every", "--no-video") == 0
    first = demo.document
    assert demo(run, "--attack", "fgsm", "--rate", "source", "--policy", "every", "--no-video") == 0
    again = demo.document
    assert again["accuracy"] == first["accuracy"] and again["frames"] == first["frames"] == 24
    assert again["source"] == str(run)


def test_attacks_are_alarms_and_their_frames_are_kept(demo: Demo, clip: Path, tmp_path: Path, samples: Samples) -> None:
    detector = tmp_path / "detector.json"
    pixels = samples.images[:60].astype(np.float32) / 255
    with Purifier.load("mnist", threads=1) as purifier:
        Detector.calibrate(evidence(purifier, pixels)[0]).write(detector)
    del demo.options[:2]  # the shipped model
    options = ("--detector", detector, "--alarms", tmp_path / "alarms", "--no-video", "--max-frames", 12)
    assert demo(clip, "--attack", "fgsm", *options) == 0
    attacked = demo.document["alarms"]
    assert attacked["frames"] >= 6 and attacked["written"] == 1 and attacked["error"] is None
    assert len(list(RecordingSource(tmp_path / "alarms" / "alarm-0001.mcap"))) >= 6
    assert demo(clip, *options) == 0
    assert demo.document["alarms"]["frames"] < attacked["frames"] / 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminate", "kill -9"])
def test_a_run_that_is_ended_by_a_signal_can_be_replayed(demo: Demo, tmp_path: Path, number: signal.Signals) -> None:
    run, video_path = tmp_path / "run.mcap", tmp_path / "demo.mkv"
    long = clips.save(tmp_path / "long.mp4", frames=800)
    options = demo.arguments(long, "--record", run, "--out", video_path)
    with subprocess.Popen([sys.executable, "-m", "demos.video", *options], stdout=subprocess.DEVNULL) as process:
        until(lambda: video_path.exists() and video_path.stat().st_size > 150_000, 60)
        process.send_signal(number)
        process.wait(60)
    recorded = list(RecordingSource(run))
    assert 10 < len(recorded) < 800 and frames_in(video_path) > 5
    assert [frame.index for frame in recorded] == list(range(len(recorded)))
