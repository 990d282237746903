"""Who owns what, and until when: callers' arrays, plans that make room, a closed pipeline, an engine being closed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.contract import RMSE
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import ClosedError, DeviceError
from puvae_rt.gpu.pipeline import GRAPHS, GpuPipeline
from puvae_rt.gpu.pool import GpuEngine
from puvae_rt.gpu.stand_in import StandIn
from puvae_rt.runtime.preprocess import as_input
from tests import tolerances
from tests.gpu.bundles import save_gpu_bundle
from tests.gpu.conftest import open_on
from tests.gpu.test_pipeline import _rmse, images
from tests.runtime import toy


class Pooled:
    """An array of a library that hands its memory on, to be written anew, as soon as nobody refers to the array."""

    def __init__(self, device: EmulatedDevice, contents: np.ndarray) -> None:
        self.memory = device.allocate(contents.nbytes)
        with device.stream() as stream:
            device.to_device(self.memory.address, contents, stream)
            stream.synchronize()
        self.__cuda_array_interface__ = {
            "shape": contents.shape,
            "typestr": contents.dtype.str,
            "data": (self.memory.address, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }
        weakref.finalize(self, device.array(self.memory.address, (contents.nbytes,), np.uint8).fill, 0x3F)


@pytest.mark.parametrize("seed", range(6))
def test_a_callers_batch_lives_until_the_device_has_read_it(tmp_path: Path, seed: int) -> None:
    with EmulatedDevice(seed) as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
        with engine.pipeline() as pipeline:
            for repeat in range(8):
                batch = images(3, seed=repeat)
                got = pipeline.enqueue(Pooled(device, batch))[RMSE].numpy(pipeline.stream)
                np.testing.assert_allclose(got, _rmse(batch), atol=tolerances.HALF_PIXEL)
        engine.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_callers_frame_lives_until_the_device_has_read_it(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    with EmulatedDevice(seed) as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
        with engine.pipeline() as pipeline:
            for _ in range(4):
                frame = random.integers(0, 256, (40, 50, 3), np.uint8)
                outputs = pipeline.enqueue_frame(Pooled(device, frame), [(0, 0, 50, 40)], "bgr8")
                expected = _rmse(as_input(frame, None, toy.GRAY))
                np.testing.assert_allclose(outputs[RMSE].numpy(pipeline.stream), expected, atol=tolerances.ONE_LEVEL)
        engine.close()


def test_what_was_read_is_let_go_though_nobody_asks_the_pipeline_to_wait(pipeline: GpuPipeline, device) -> None:
    alive = []
    for seed in range(30):
        array = Pooled(device, images(2, seed))
        alive.append(weakref.ref(array))
        pipeline.enqueue(array)
        del array
        pipeline.stream.synchronize()  # the caller's own way of waiting
    gc.collect()
    assert sum(reference() is not None for reference in alive) <= 1


def test_arrays_at_ever_new_addresses_reach_a_graph(pipeline: GpuPipeline, device, monkeypatch) -> None:
    made = []
    execution = StandIn.execution
    monkeypatch.setattr(StandIn, "execution", lambda *a: (made.append(a), execution(*a))[1])
    kept = [Pooled(device, images(2, seed)) for seed in range(40)]
    for seed, array in enumerate(kept):
        before = device.snapshot()
        rmse = pipeline.enqueue(array)[RMSE]
        spent = device.snapshot().launches - before.launches
        np.testing.assert_allclose(rmse.numpy(pipeline.stream), _rmse(images(2, seed)), atol=tolerances.HALF_PIXEL)
    assert spent == 1, "the last call is a graph's launch"
    assert len(made) <= 2 * 4, "two executions, the classifier's too, for each of a few plans"


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_arrays_that_come_again_are_read_in_place(pipeline: GpuPipeline, device, count: int) -> None:
    """Also after many that did not."""
    for seed in range(20):
        pipeline.enqueue(Pooled(device, images(2, seed)))
    kept = [Pooled(device, images(2, seed)) for seed in range(count)]
    for _ in range(30):
        for array in kept:
            pipeline.enqueue(array)
    before = device.snapshot()
    for seed, array in enumerate(kept):
        rmse = pipeline.enqueue(array)[RMSE].numpy(pipeline.stream)
        np.testing.assert_allclose(rmse, _rmse(images(2, seed)), atol=tolerances.HALF_PIXEL)
    spent = device.snapshot().copies - before.copies
    assert spent == count, "each result's copy to the host, and none of an image"


def test_addresses_never_push_out_what_runs_all_the_time(pipeline: GpuPipeline, device) -> None:
    frame = np.zeros((30, 30), np.uint8)
    for seed in range(4 * GRAPHS):
        pipeline.enqueue(Pooled(device, images(2, seed)))
        pipeline.frame(frame, [(0, 0, 30, 30)], "gray8")
    assert device.snapshot().captures <= 6


CALLS: dict[str, Callable[[GpuPipeline], object]] = {
    "run": lambda p: p.run(images(1)),
    "stage": lambda p: p.stage(images(1)),
    "forget": lambda p: p.forget(),
    "plan_for_batch": lambda p: p.plan_for_batch(1),
    "frame": lambda p: p.frame(np.zeros((30, 30), np.uint8), [(0, 0, 30, 30)], "gray8"),
    "enqueue": lambda p: p.enqueue(images(1)),
    "enqueue_frame": lambda p: p.enqueue_frame(np.zeros((30, 30), np.uint8), [(0, 0, 30, 30)], "gray8"),
    "collect": lambda p: p.collect(1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_pipeline_says_so(device: EmulatedDevice, tmp_path: Path, call) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
    with engine.pipeline() as pipeline:
        pipeline.run(images(1))
        pipeline.close()
        before = device.snapshot()
        with pytest.raises(ClosedError, match="closed"):
            call(pipeline)
        assert device.snapshot() == before, "it touched the device"


def test_a_frame_too_large_for_the_memory_leaves_the_pipeline_as_it_was(tmp_path: Path) -> None:
    small, large = np.full((40, 40), 90, np.uint8), np.zeros((4000, 4000), np.uint8)
    with EmulatedDevice() as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
        with engine.pipeline() as pipeline:
            fill = device.allocate(device.free_memory() - (10 << 20))
            for _ in range(3):
                with pytest.raises(DeviceError, match="OUT_OF_MEMORY"):
                    pipeline.frame(large, [(0, 0, 4000, 4000)], "gray8")
                outcome = pipeline.frame(small, [(0, 0, 40, 40)], "gray8")
                expected = _rmse(as_input(small, None, toy.GRAY))
                np.testing.assert_allclose(outcome.purified.rmse, expected, atol=tolerances.ONE_LEVEL)
            fill.close()
            pipeline.frame(large, [(0, 0, 4000, 4000)], "gray8")
        engine.close()
        assert device.free_memory() == device.properties.total_memory


class Pipeline:
    """What the pool asks of one; `on_close` is what another thread does meanwhile."""

    takes_noise = classifies = False

    def __init__(self, log: list[str], on_close: Callable[[], None] = lambda: None) -> None:
        self._log, self._on_close = log, on_close

    def close(self) -> None:
        self._on_close()
        self._log.append("pipeline")


def test_an_engine_closed_while_a_call_ends_is_freed_once_and_last() -> None:
    log: list[str] = []
    made = iter([Pipeline(log, lambda: call.__exit__(None, None, None)), Pipeline(log)])
    engine = GpuEngine(lambda: next(made), lambda: log.append("freed"))
    with engine.pipeline():  # takes the first; the second is made for the call below
        call = engine.pipeline()
        call.__enter__()
    engine.close()  # closing the first, idle one meets the end of the call
    assert log == ["pipeline", "pipeline", "freed"]


def test_an_engine_closed_while_a_pipeline_fails_to_be_made_is_freed() -> None:
    log: list[str] = []

    def fail() -> GpuPipeline:
        engine.close()
        first.__exit__(None, None, None)
        assert log == ["pipeline"], "somebody is still at work"
        raise DeviceError("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY", "none left")

    made = iter([lambda: Pipeline(log), fail])
    engine = GpuEngine(lambda: next(made)(), lambda: log.append("freed"))
    first = engine.pipeline()
    first.__enter__()
    with pytest.raises(DeviceError), engine.pipeline():
        pass
    assert log == ["pipeline", "freed"]
