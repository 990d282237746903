"""The product on a real GPU: kernels, the shipped model, graph replay, memory, threads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from export import build, verify
from export.kernel_check import check_kernels
from puvae_rt import Purifier
from puvae_rt.device import Device, open_device
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped
from tests import tolerances

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def bundle(target: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, _ = build.build(build.BuildSettings("mnist", tmp_path_factory.mktemp("out"), target, "fp16", verify=False))
    return folder


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.load(shipped("mnist").path(SAMPLES_FILE))["images"]


def test_kernels_equal_their_twins(device: Device) -> None:
    assert [case for case in check_kernels(device) if not case.passed] == []


def test_the_whole_verification_passes(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert verify.main([str(bundle), "--device", "gpu", "--report", str(report)]) == 0, capsys.readouterr().out
    document = json.loads(report.read_text())
    assert document["quality"]["evidence"] == document["device"]["evidence"] == "measured"
    assert document["device"]["graph"]["captured"]


def test_the_gpu_gives_the_cpus_result(bundle: Path, images: np.ndarray) -> None:
    with Purifier.load(bundle) as gpu, Purifier.load("mnist") as cpu:
        got, want = gpu.purify(images), cpu.purify(images)
    same = got.projected == want.projected
    assert same.mean() >= tolerances.HALF_AGREEMENT
    np.testing.assert_allclose(got.images[same], want.images[same], atol=tolerances.HALF_NETWORK)


def test_frames_use_no_more_memory_the_longer_they_run(bundle: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with open_device() as device, Purifier.load(bundle, device=device) as gpu:
        for i in range(5):
            gpu(frame, (i, i, 100, 100))
        before = device.free_memory()
        for i in range(500):
            gpu(frame, (i % 300, i % 300, 100 + i % 80, 100))
        assert device.free_memory() >= before


def test_two_threads_share_the_gpu(bundle: Path, images: np.ndarray) -> None:
    with Purifier.load(bundle) as gpu, ThreadPoolExecutor(2) as pool:
        alone = gpu.purify(images[:64])
        for shared in pool.map(gpu.purify, [images[:64]] * 8):
            np.testing.assert_array_equal(shared.projected, alone.projected)
            np.testing.assert_array_equal(shared.images, alone.images)


def test_torch_tensors_go_in_and_out_without_a_copy(bundle: Path, images: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    with GpuPipeline.load(bundle) as pipeline:
        batch = torch.empty((4, *pipeline.contract.shape), device="cuda")
        for first in range(0, 16, 4):  # other images each time: plainly, captured, replayed
            batch.copy_(torch.from_numpy(images[first : first + 4]).float() / 255)
            outputs = pipeline.enqueue(batch)
            purified = torch.from_dlpack(outputs["purified"])
            assert purified.data_ptr() == outputs["purified"].address, "handed over in place"
            got = purified.cpu().numpy()  # out of the pipeline's memory, before the next call writes it
            pipeline.forget()
            want = pipeline.run(batch.cpu().numpy()).purified.images
            np.testing.assert_array_equal(got, want)
            assert not np.array_equal(got, batch.cpu().numpy())
