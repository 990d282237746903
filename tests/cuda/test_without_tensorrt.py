"""The pipeline on a real GPU, with PyTorch in TensorRT's place: what is tested where no TensorRT serves the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from export.on_device import _graph_equals_plain
from puvae_rt import Purifier
from puvae_rt.device import Device
from puvae_rt.errors import InputError
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped
from tests import tolerances
from tests.cuda import uncompiled

pytestmark = pytest.mark.gpu
torch_engine = pytest.importorskip("tests.cuda.torch_engine", exc_type=ImportError)
BATCH = (1, 128)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "mnist"
    uncompiled.write("mnist", folder, BATCH)  # no compiler of NVIDIA's need be there
    return folder


@pytest.fixture
def pipeline(bundle: Path, device: Device) -> Iterator[GpuPipeline]:
    if not torch_engine.torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    with torch_engine.pipeline(bundle, device, BATCH) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.load(shipped("mnist").path(SAMPLES_FILE))["images"].reshape(-1, 1, 28, 28).astype(np.float32) / 255


def test_it_chooses_as_the_cpu_does(pipeline: GpuPipeline, images: np.ndarray) -> None:
    with Purifier.load("mnist") as cpu:
        want = cpu.purify(images[:128])
    got = pipeline.run(images[:128]).purified
    same = got.projected == want.projected
    assert same.mean() >= tolerances.HALF_AGREEMENT
    np.testing.assert_allclose(got.images[same], want.images[same], atol=tolerances.HALF_NETWORK)


def test_a_graph_gives_what_plain_calls_give(pipeline: GpuPipeline, images: np.ndarray) -> None:
    assert _graph_equals_plain(pipeline, images[:300])
    assert pipeline.obstacles == {}


def test_frames_are_replayed_and_take_no_more_memory(pipeline: GpuPipeline) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    for i in range(5):
        pipeline.frame(frame, [(i, i, 100, 100)], "bgr8")
    before = pipeline.device.free_memory()
    outcomes = [pipeline.frame(frame, [(i % 300, i % 300, 100 + i % 80, 100)], "bgr8") for i in range(500)]
    assert all(outcome.replayed for outcome in outcomes)
    assert pipeline.device.free_memory() >= before


def test_tensors_go_in_and_out_without_a_copy(pipeline: GpuPipeline, images: np.ndarray) -> None:
    torch = torch_engine.torch
    batch = torch.empty((4, *pipeline.contract.shape), device="cuda")
    for first in range(0, 16, 4):  # other images each time: plainly, captured, replayed
        batch.copy_(torch.from_numpy(images[first : first + 4]))
        outputs = pipeline.enqueue(batch)
        purified = torch.from_dlpack(outputs["purified"])
        assert purified.data_ptr() == outputs["purified"].address, "handed over in place"
        got = purified.cpu().numpy()  # out of the pipeline's memory, before the next call writes it
        pipeline.forget()
        np.testing.assert_array_equal(got, pipeline.run(images[first : first + 4]).purified.images)


def test_two_streams_at_once(bundle: Path, device: Device, pipeline: GpuPipeline, images: np.ndarray) -> None:
    alone = pipeline.run(images[:64]).purified
    with torch_engine.pipeline(bundle, device, BATCH) as other, ThreadPoolExecutor(2) as pool:
        for _ in range(8):
            calls = [pool.submit(each.run, images[:64]) for each in (pipeline, other)]
            for call in calls:
                np.testing.assert_array_equal(call.result().purified.projected, alone.projected)


def test_another_gpus_array_is_refused(pipeline: GpuPipeline) -> None:
    torch = torch_engine.torch
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    with pytest.raises(InputError, match="number 1, expected"):
        pipeline.enqueue(torch.zeros((1, *pipeline.contract.shape), device="cuda:1"))
