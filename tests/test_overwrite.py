"""No command writes over what it reads: each is refused before anything is opened, and everything is left as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from demos import make_clip, video
from export import assets, build, thin_classifier, verify
from puvae_rt import evaluate, train
from puvae_rt.bench import command as bench
from puvae_rt.cli.command import load
from puvae_rt.kernels import report as kernels

Main = Callable[[Sequence[str]], int]

COMMANDS: dict[str, tuple[Main, str]] = {
    "video, --out over the source": (video.main, "--headless --source clip.mp4 --out clip.mp4"),
    "video, --out over a link to the source": (video.main, "--headless --source clip.mp4 --out link.mp4"),
    "video, --out over another link to the source": (video.main, "--headless --source hard.mp4 --out clip.mp4"),
    "video, --out in another case": (video.main, "--headless --source clip.mp4 --out CLIP.MP4"),
    "video, --json over the truth": (video.main, "--headless --source clip.mp4 --out new.mp4 --json clip.json"),
    "video, --json over the source": (video.main, "--headless --source clip.mp4 --out new.mp4 --json clip.mp4"),
    "video, --json over --out": (video.main, "--headless --source clip.mp4 --out new.mp4 --json new.mp4"),
    "video, --json over the classifier": (
        video.main,
        "--headless --source synthetic --classifier a.onnx --out new.mp4 --json a.onnx",
    ),
    "video, --json into the bundle": (
        video.main,
        "--headless --source synthetic --bundle bundle --out new.mp4 --json bundle/manifest.json",
    ),
    "make_clip, --out over the samples": (make_clip.main, "--samples clip.mp4 --out clip.mp4"),
    "make_clip, the truth over the samples": (make_clip.main, "--samples clip.json --out clip.mp4"),
    "verify, --report into the bundle": (verify.main, "bundle --report bundle/manifest.json"),
    "verify, --report over the samples": (verify.main, "bundle --samples a.npz --report a.npz"),
    "bench, --json over --compare": (bench.main, "--compare old.json --json old.json"),
    "bench, --json into the bundle": (bench.main, "--bundle bundle --json bundle/manifest.json"),
    "bench, the picture over --json": (bench.main, "--model-gpu orin --bundle bundle --json new.png"),
    "build, --out over the samples": (build.main, "--model mnist --out . --samples mnist-cpu-fp32/a.npz"),
    "build, --json into the new bundle": (
        build.main,
        "--model mnist --out o --no-verify --json o/mnist-cpu-fp32/x.onnx",
    ),
    "build, --json over the new bundle": (build.main, "--model mnist --out o --no-verify --json o/mnist-cpu-fp32"),
    "build, --json into a bundle beside it": (build.main, "--target cpu --out . --json bundle/new.json"),
    "evaluate, --json among the results": (evaluate.main, "--results r --json r/defense.json"),
    "search, --json among the results": (load("search").run, "--results r --json r/trials.json"),
    "train, --json among the runs": (train.main, "--runs r --json r/mnist/report.json"),
    "low-rank, --json among the runs": (load("low-rank").run, "--runs r --json r/mnist/report.json"),
    "train-baselines, --json among the runs": (
        load("train-baselines").run,
        "--baseline magnet --runs r --json r/mnist/report.json",
    ),
    "keep-baselines, --json among them": (load("keep-baselines").run, "--baselines r --json r/report.json"),
    "keep-accuracy, --json over --out": (load("keep-accuracy").run, "--out new.json --json new.json"),
    "build, --out over the classifier": (build.main, "--model mnist --out . --classifier mnist-cpu-fp32/a.onnx"),
    "thin_classifier, --out over the weights": (thin_classifier.main, "--weights a.onnx --out a.onnx"),
    "assets, --out over the weights": (
        assets.main,
        "--puvae bundle/p.safetensors --source a.onnx --target a.onnx --out bundle",
    ),
    "assets, --json into --out": (
        assets.main,
        "--weights a.onnx --source-classifier a.onnx --classifier a.onnx --out new --json new/model.json",
    ),
    "kernels, the table over --json": (kernels.main, "--json report.md"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Inputs that no command could read: whoever opens one fails otherwise than by a refusal."""
    monkeypatch.chdir(tmp_path)
    for name in ("bundle", "mnist-cpu-fp32"):
        Path(name).mkdir()
    names = ("clip.mp4", "clip.json", "a.npz", "a.onnx", "old.json", "bundle/manifest.json", "bundle/p.safetensors")
    for name in (*names, "mnist-cpu-fp32/a.npz", "mnist-cpu-fp32/a.onnx"):
        Path(name).write_text(name)
    Path("link.mp4").symlink_to("clip.mp4")
    Path("hard.mp4").hardlink_to("clip.mp4")
    return tmp_path


@pytest.mark.parametrize("case", COMMANDS)
def test_an_output_over_an_input_is_refused(
    folder: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main, arguments = COMMANDS[case]
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert "which would overwrite" in error and "expected another path" in error
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before
