"""`export.verify --device`: its logic on the emulated device, with the toy purifier."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export import on_device, verify
from export.samples import Samples, save_samples
from puvae_rt.contract import CLASSIFIER_FILE, REFERENCE_FILE
from puvae_rt.files import sha256_of
from puvae_rt.gpu.plan import Plan
from puvae_rt.kernels.shim import Shim
from puvae_rt.runtime.manifest import Manifest
from tests.gpu.bundles import save_gpu_bundle
from tests.runtime import toy


def add_reference(bundle: Path) -> Path:
    """The toy's FP32 graph, whole, beside its engine."""
    toy.save_purifier(bundle / REFERENCE_FILE)
    files = {path.name: sha256_of(path) for path in bundle.iterdir() if path.name != "manifest.json"}
    toy.edit_manifest(bundle, files=files, passes=["hoist"])
    return bundle


def without_classifier(bundle: Path) -> None:
    (bundle / CLASSIFIER_FILE).unlink()
    document = json.loads((bundle / "manifest.json").read_text())
    for table in ("files", "sizes"):
        document[table].pop(CLASSIFIER_FILE, None)
    toy.edit_manifest(bundle, files=document["files"], sizes=document["sizes"])


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    return add_reference(save_gpu_bundle(tmp_path / "bundle", batch=(1, 2)))


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the rest."""
    monkeypatch.setattr(on_device, "check_kernels", lambda device: [])


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Images that lie on the toy's templates: its projections are theirs beyond doubt."""
    labels = np.arange(6) % toy.CLASSES
    images = (toy.templates()[labels] * 255).astype(np.uint8)
    save_samples(tmp_path / "samples.npz", Samples({"clean": images}, labels.astype(np.int64)))
    return tmp_path / "samples.npz"


def run(bundle: Path, samples: Path, report: Path) -> tuple[int, dict]:
    arguments = [str(bundle), "--samples", str(samples), "--device", "emulated", "--report", str(report), "--json"]
    code = verify.main(arguments)
    return code, json.loads(report.read_text()) if report.exists() else {}


def test_the_report_holds_all_that_a_gpu_is_asked(bundle: Path, samples: Path, tmp_path: Path, capsys) -> None:
    code, report = run(bundle, samples, tmp_path / "out" / "report.json")
    assert code == 0
    assert json.loads(capsys.readouterr().out) == report
    assert report["quality"]["evidence"] == report["device"]["evidence"] == "emulated"
    assert report["quality"]["built"]["agreement/clean"] == 1.0
    device = report["device"]
    assert {case["kernel"].partition("_")[0] for case in device["kernels"]["cases"]} == {"select", "preprocess"}
    assert device["kernels"]["passed"] and len(device["kernels"]["cases"]) == 12 + 11 + 16
    assert {"1x1000x37 off by 3", "1x2x65536"} <= {case["case"] for case in device["kernels"]["cases"]}
    assert device["graph"] == {"captured": True, "equals_plain_calls": True, "obstacles": {}}
    assert device["built"]["tools"] == {"tensorrt_rtx": "1.0"} and device["software"]["puvae_rt"]
    assert [latency["batch"] for latency in device["latency"]] == [1, 2]
    for latency in device["latency"]:
        assert list(latency["parts"]) == ["upload", "engine", "select", "classifier", "download"]
        counted = latency["as_trtexec_counts"]
        total = counted["h2d_latency_ms"] + counted["gpu_compute_time_ms"] + counted["d2h_latency_ms"]
        assert counted["latency_ms"] == pytest.approx(total)
        assert all(latency["call"][p] >= latency["enqueue"][p] > 0 for p in ("p50", "p99"))
        assert latency["call"]["p50"] <= latency["call"]["p99"] <= latency["call"]["p99_9"]
    assert list(device["frames"]) == ["host_frame", "device_frame"]
    assert all(0 < frame["p50"] <= frame["p99"] <= frame["p99_9"] for frame in device["frames"].values())
    timed = {time["kernel"].partition("_")[0] for time in device["kernel_times"]}
    assert timed == {"select", "preprocess"}
    assert all(time["microseconds"] > 0 < time["share_of_copy"] for time in device["kernel_times"])
    assert on_device.show(device).count(" us, ") == len(device["kernel_times"]) == 2
    assert any("racecheck" in command for command in device["sanitizer"])
    assert on_device.show(device).count("compute-sanitizer --tool") == 4


def test_a_wrong_kernel_fails(bundle: Path, samples: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    launch = Shim.run

    def lazy(self: Shim, geometry, arguments, seed=0) -> None:
        if geometry.entry.startswith("preprocess_nv12"):
            return  # leaves the image as it was
        launch(self, geometry, arguments, seed)

    monkeypatch.setattr(Shim, "run", lazy)
    code, report = run(bundle, samples, tmp_path / "report.json")
    wrong = {case["kernel"] for case in report["device"]["kernels"]["cases"] if not case["passed"]}
    assert code == 1
    assert wrong and all(kernel.startswith("preprocess_nv12") for kernel in wrong)
    assert not np.isnan([c["error"] for c in report["device"]["kernels"]["cases"]]).any(), "JSON knows no NaN"


def test_a_graph_that_differs_from_plain_calls_fails(
    bundle, samples, tmp_path, monkeypatch, no_kernels, capsys
) -> None:
    monkeypatch.setattr(Plan, "run", lambda self, arguments=None: None)  # replays nothing
    without_classifier(bundle)  # which would refuse what is in the buffers
    code, report = run(bundle, samples, tmp_path / "report.json")
    assert code == 1
    assert not report["device"]["graph"]["equals_plain_calls"]


def test_an_engine_that_samples_is_compared_and_timed_too(tmp_path: Path, no_kernels) -> None:
    folder = save_gpu_bundle(tmp_path / "sampling", batch=(1, 2), sampling=True)
    manifest, images = Manifest.read(folder), np.zeros((4, *toy.GRAY.shape), np.float32)
    with on_device.opened(folder, manifest, "emulated") as (device, engine):
        section = on_device.report(folder, manifest, device, engine, images)
        assert section["graph"] == {"captured": True, "equals_plain_calls": True, "obstacles": {}}
        assert [latency["batch"] for latency in section["latency"]] == [1, 2]
        assert section["frames"] == {}, "a frame comes without noise"
        with engine.pipeline() as pipeline, pytest.MonkeyPatch.context() as patch:
            patch.setattr(Plan, "run", lambda self, arguments=None: None)
            assert not on_device._graph_equals_plain(pipeline, images)


def test_a_worse_engine_fails(samples: Path, tmp_path: Path, no_kernels, capsys) -> None:
    other = save_gpu_bundle(tmp_path / "other", batch=(1, 2), template=0.5)
    code, report = run(add_reference(other), samples, tmp_path / "report.json")
    assert code == 1
    assert not report["quality"]["passed"]


def test_a_cpu_bundle_is_refused(samples: Path, tmp_path: Path, capsys) -> None:
    bundle = toy.save_bundle(tmp_path / "cpu")
    assert run(bundle, samples, tmp_path / "report.json")[0] == 2
    assert "built for the CPU" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cpu", "gpu", "cuda", "cuda:1", "pycuda:0", "emulated:7"])
def test_a_device_may_have_a_number(name: str) -> None:
    assert verify.parser().parse_args(["bundle", "--device", name]).device == name


@pytest.mark.parametrize("name", ["vulkan", "cuda:", "cuda:x", "gpu:1", "cpu:0", ""])
def test_other_devices_are_refused(name: str, capsys) -> None:
    with pytest.raises(SystemExit):
        verify.parser().parse_args(["bundle", "--device", name])
    assert "expected one of cpu, gpu, cuda, pycuda, emulated" in capsys.readouterr().err


def test_without_a_gpu_it_says_so(bundle: Path, samples: Path, capsys) -> None:
    from puvae_rt.doctor.checks import diagnose

    if diagnose().gpu_ready:
        pytest.skip("there is a GPU here")
    assert verify.main([str(bundle), "--samples", str(samples), "--device", "gpu"]) == 2
    assert "no NVIDIA driver" in capsys.readouterr().err
