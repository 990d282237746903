"""Whether a call was one replay of a CUDA graph is told with its result, and why not by the purifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import ClosedError, DeviceError
from puvae_rt.gpu.pipeline import GpuPipeline
from tests.gpu.bundles import save_gpu_bundle
from tests.gpu.test_pipeline import images
from tests.runtime import toy

FRAME = np.zeros((40, 40), np.uint8)


def refuse(*arguments: object) -> None:
    raise DeviceError("cuStreamBeginCapture", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "not this time")


def test_the_first_call_of_a_shape_is_enqueued_and_the_others_are_replayed(pipeline: GpuPipeline) -> None:
    assert [pipeline.run(images(2)).replayed for _ in range(3)] == [False, True, True]
    assert [pipeline.frame(FRAME, [(0, 0, 30, 30)], "gray8").replayed for _ in range(3)] == [False, True, True]
    assert pipeline.run(images(2)).replayed, "a frame meanwhile changes nothing"
    pipeline.plan_for_batch(2).enqueue()
    assert not pipeline.collect(2).replayed


def test_a_result_says_whether_its_frame_was_replayed(tmp_path: Path) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle")
    with Purifier.load(bundle, device="emulated") as purifier:
        assert [purifier(FRAME).replayed for _ in range(3)] == [False, True, True]
        assert purifier.obstacles == {}
    with pytest.raises(ClosedError):
        purifier.obstacles  # noqa: B018


def test_a_frame_that_cannot_be_replayed_says_so_every_time(tmp_path: Path, monkeypatch) -> None:
    with EmulatedDevice() as device:
        monkeypatch.setattr(device, "capture", refuse)
        with Purifier.load(save_gpu_bundle(tmp_path / "bundle"), device=device) as purifier:
            assert [purifier(FRAME).replayed for _ in range(4)] == [False] * 4
            assert list(purifier.obstacles) == ["frame 1 gray8"]
            assert "not this time" in purifier.obstacles["frame 1 gray8"]


def test_a_cpu_has_no_graphs(tmp_path: Path) -> None:
    with Purifier.load(toy.save_bundle(tmp_path / "cpu")) as purifier:
        assert purifier(FRAME).replayed is None
        assert purifier.obstacles == {}
