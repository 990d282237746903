"""The whole pipeline on the emulated device, against the toy purifier in NumPy."""

from __future__ import annotations

import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.contract import PURIFIED, RMSE, ImageContract, Score
from puvae_rt.device.arrays import DeviceArray
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.device.emulated.device import EMULATED
from puvae_rt.device.emulated.objects import EmulatedGraph
from puvae_rt.errors import ClosedError, ContractError, DeviceError, InputError
from puvae_rt.gpu.memory import Layout, aligned
from puvae_rt.gpu.pipeline import GRAPHS, GpuPipeline
from puvae_rt.kernels.launch import FLAG_NO_CANDIDATE, FLAG_SOME_NAN
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.preprocess import as_input
from tests import tolerances
from tests.gpu.bundles import BIASES, save_gpu_bundle
from tests.gpu.conftest import open_on
from tests.runtime import toy

SHARED = dataclasses.replace(EMULATED, name="emulated board", integrated=True)
UNIFIED = dataclasses.replace(SHARED, concurrent_managed_access=True)


def images(count: int, seed: int = 0, contract: ImageContract = toy.GRAY) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *contract.shape), dtype=np.float32)


def assert_purified(outcome, batch, contract=toy.GRAY, noise=None, biases=0.0) -> None:
    projections = toy.candidates(batch, contract, noise)
    squares = (batch[:, None] - projections) ** 2
    labels = (squares.sum(axis=(2, 3, 4)) + biases).argmin(axis=1)
    got = outcome.purified
    np.testing.assert_array_equal(got.projected, labels)
    np.testing.assert_allclose(got.images, projections[np.arange(len(batch)), labels], atol=tolerances.HALF_PIXEL)
    np.testing.assert_allclose(got.rmse, np.sqrt(squares.mean(axis=(2, 3, 4))), atol=tolerances.HALF_PIXEL)


def test_batches_of_every_size_run_three_times_over(pipeline: GpuPipeline) -> None:
    for repeat in range(3):  # plainly, captured, replayed
        for count in (1, 3, 8):
            batch = images(count, seed=10 * repeat + count)
            outcome = pipeline.run(batch)
            assert_purified(outcome, batch)
            assert_classified(outcome)


def assert_classified(outcome) -> None:
    """The classifier saw the purified images, each in its place."""
    expected = toy.logits(outcome.purified.images)
    np.testing.assert_allclose(outcome.logits, expected, atol=tolerances.TOY_LOGITS)
    np.testing.assert_array_equal(outcome.labels, expected.argmax(axis=1))


def test_the_toy_classifier_tells_images_apart() -> None:
    projections = toy.candidates(images(1))[0]
    assert len(set(toy.logits(projections).argmax(axis=1))) > 1
    assert np.abs(toy.logits(projections) - toy.logits(images(1))).min() > 10 * tolerances.TOY_LOGITS


def test_frames_equal_the_cpu_path(pipeline: GpuPipeline) -> None:
    random = np.random.default_rng(2)
    for repeat in range(3):
        frame = random.integers(0, 256, (60 + repeat, 80, 3), np.uint8)
        regions = [(0, 0, 80, 60), (-5, 10, 40, 44), (50, 30, 28, 28)]
        outcome = pipeline.frame(frame, regions, "bgr8")
        batch = np.concatenate([as_input(frame, region, toy.GRAY) for region in regions])
        np.testing.assert_allclose(outcome.purified.rmse, _rmse(batch), atol=tolerances.ONE_LEVEL)


def _rmse(batch: np.ndarray) -> np.ndarray:
    return np.sqrt(((batch[:, None] - toy.candidates(batch)) ** 2).mean(axis=(2, 3, 4)))


@pytest.mark.parametrize("properties", [EMULATED, SHARED, UNIFIED], ids=["discrete", "mapped", "unified"])
@pytest.mark.parametrize("contract", [toy.GRAY, toy.COLOR], ids=["gray", "colour"])
def test_platforms_and_models(tmp_path: Path, properties, contract: ImageContract) -> None:
    with EmulatedDevice(seed=1, properties=properties) as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", contract))
        batch = images(2, contract=contract)
        with engine.pipeline() as pipeline:
            for _ in range(3):
                assert_purified(pipeline.run(batch), batch, contract)
            pipeline.frame(np.zeros((40, 40, 3), np.uint8), [(0, 0, 40, 40)], "bgr8")
            copies = device.snapshot().copies
        assert (copies == 0) == properties.integrated, "shared memory needs no copies"
        engine.close()


@pytest.mark.parametrize("seed", range(6))
def test_no_order_of_the_device_changes_a_result(tmp_path: Path, seed: int) -> None:
    with EmulatedDevice(seed=seed) as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
        with engine.pipeline() as pipeline:
            for repeat in range(4):
                batch = images(2, seed=repeat)
                assert_purified(pipeline.run(batch), batch)
        engine.close()


def test_a_frame_costs_one_launch_one_synchronisation_and_no_allocation(pipeline: GpuPipeline, device) -> None:
    frame, batch = np.zeros((50, 50), np.uint8), images(4)
    for _ in range(2):  # warm up, capture
        pipeline.frame(frame, [(0, 0, 50, 50)], "gray8")
        pipeline.run(batch)
    before = device.snapshot()
    for i in range(10):
        pipeline.frame(frame + np.uint8(i), [(i, i, 30, 30)], "gray8")
        pipeline.run(batch)
    after = device.snapshot()
    spent = {name: getattr(after, name) - getattr(before, name) for name in vars(after)}
    assert spent == {
        "allocations": 0,
        "frees": 0,
        "synchronisations": 20,
        "pageable_copies": 0,
        "copies": 10 + 0,  # the frame's region; all else is inside the graph
        "launches": 20,
        "captures": 0,
    }


def test_graphs_are_forgotten_when_there_are_many(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", batch=(1, 2 * GRAPHS)))
    with engine.pipeline() as pipeline:
        for repeat in range(2):
            for count in range(1, 2 * GRAPHS + 1):
                batch = images(count, seed=repeat)
                assert_purified(pipeline.run(batch), batch)
                assert len(pipeline._plans) <= GRAPHS
    engine.close()


def test_what_cannot_be_captured_goes_on_plainly_and_says_why(device, tmp_path: Path, caplog, monkeypatch) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))

    def refuse(*arguments: object) -> None:
        raise DeviceError("cuStreamBeginCapture", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "not this time")

    monkeypatch.setattr(device, "capture", refuse)
    batch = images(2)
    with caplog.at_level(logging.WARNING), engine.pipeline() as pipeline:
        for _ in range(4):
            assert_purified(pipeline.run(batch), batch)
    engine.close()
    assert [r.message for r in caplog.records if "not this time" in r.message and "without a CUDA graph" in r.message]
    assert len(caplog.records) == 1, "once, not at every frame"
    assert device.snapshot().captures == 0


def test_a_graph_that_takes_no_other_arguments_is_given_up(device, tmp_path: Path, caplog, monkeypatch) -> None:
    def refuse(*arguments: object) -> None:
        raise DeviceError("cuGraphExecKernelNodeSetParams", "CUDA_ERROR_NOT_FOUND", "no such node")

    monkeypatch.setattr(EmulatedGraph, "set_arguments", refuse)
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
    with engine.pipeline() as pipeline:
        for side in (40, 40, 40, 50, 60):
            frame = np.random.default_rng(side).integers(0, 256, (side, side), np.uint8)
            outcome = pipeline.frame(frame, [(0, 0, side, side)], "gray8")
            expected = _rmse(as_input(frame, None, toy.GRAY))
            np.testing.assert_allclose(outcome.purified.rmse, expected, atol=tolerances.ONE_LEVEL)
    engine.close()
    assert len(caplog.records) == 1 and "no such node" in caplog.text
    assert device.snapshot().captures == 1


def test_a_layer_without_graphs(device, tmp_path: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(EmulatedDevice, "captures", False)
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
    with engine.pipeline() as pipeline:
        for repeat in range(3):
            frame = np.full((40, 40), 40 * repeat, np.uint8)
            outcome = pipeline.frame(frame, [(0, 0, 40, 40)], "gray8")
            expected = _rmse(as_input(frame, None, toy.GRAY))
            np.testing.assert_allclose(outcome.purified.rmse, expected, atol=tolerances.ONE_LEVEL)
    assert "has no graphs" in caplog.text
    engine.close()


def test_batches_in_device_memory_are_read_in_place(pipeline: GpuPipeline, device: EmulatedDevice) -> None:
    batch = images(3)
    with device.stream() as mine, device.allocate(batch.nbytes) as memory:
        array = DeviceArray(memory.address, batch.shape, batch.dtype, batch[0].nbytes, device, mine)
        for seed in range(4):
            batch = images(3, seed)
            device.to_device(memory.address, batch, mine)
            before = device.snapshot()
            outputs = pipeline.enqueue(array)
            after = device.snapshot()
            assert (after.synchronisations, after.copies) == (before.synchronisations, before.copies)
            purified = np.from_dlpack(outputs[PURIFIED])
            chosen = toy.candidates(batch)[np.arange(3), _rmse(batch).argmin(axis=1)]
            np.testing.assert_allclose(purified, chosen, atol=tolerances.HALF_PIXEL)
        assert after.captures == 1


@pytest.mark.parametrize("first", [0, 4, 16, 3136])
def test_a_batch_that_tensorrt_could_not_read_in_place_is_copied(pipeline, device, first: int) -> None:
    """Its addresses are multiples of 256; a slice of a batch starts anywhere."""
    with device.stream() as mine, device.allocate(2 * images(3).nbytes) as memory:
        for seed in range(4):
            batch = images(3, seed)
            device.to_device(memory.address + first, batch, mine)
            array = DeviceArray(memory.address + first, batch.shape, batch.dtype, batch[0].nbytes, device, mine)
            before = device.snapshot()
            outputs = pipeline.enqueue(array)
            assert device.snapshot().synchronisations == before.synchronisations
            assert device.snapshot().copies - before.copies == bool(first)
            np.testing.assert_allclose(np.from_dlpack(outputs[RMSE]), _rmse(batch), atol=tolerances.HALF_PIXEL)


def test_a_device_batch_smaller_than_the_engines_least_is_copied(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", batch=(4, 8)))
    batch = images(2)
    with engine.pipeline() as pipeline, device.stream() as mine, device.allocate(batch.nbytes) as memory:
        device.to_device(memory.address, batch, mine)
        array = DeviceArray(memory.address, batch.shape, batch.dtype, batch[0].nbytes, device, mine)
        for _ in range(3):
            rmse = np.from_dlpack(pipeline.enqueue(array)[RMSE])
            np.testing.assert_allclose(rmse, _rmse(batch), atol=tolerances.HALF_PIXEL)
    engine.close()


def test_frames_in_device_memory_are_read_in_place_at_any_address(pipeline: GpuPipeline, device) -> None:
    random = np.random.default_rng(0)
    for repeat in range(4):
        frame = random.integers(0, 256, (48, 64, 3), np.uint8)  # [H,W,3] with the first 50 columns as the picture
        with device.stream() as mine, device.allocate(frame.nbytes) as memory:
            device.to_device(memory.address, frame, mine)
            array = DeviceArray(memory.address, (48, 50, 3), frame.dtype, 64 * 3, device, mine)
            outputs = pipeline.enqueue_frame(array, [(0, 0, 50, 48)], "bgr8")
            rmse = np.from_dlpack(outputs[RMSE])
            expected = _rmse(as_input(np.ascontiguousarray(frame[:, :50]), None, toy.GRAY))
            np.testing.assert_allclose(rmse, expected, atol=tolerances.ONE_LEVEL)
        assert device.snapshot().captures == (repeat >= 1), "another address is another argument, not another graph"


@pytest.mark.parametrize("seed", range(4))
def test_pinned_memory_is_not_written_while_it_is_read(tmp_path: Path, seed: int) -> None:
    """Regions of the next frame must not overtake those of a frame still under way."""
    frame = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    regions = [(0, 0, 30, 30), (30, 30, 34, 34), (5, 5, 28, 28), (10, 0, 40, 60)]
    nbytes = toy.CLASSES * 4
    with EmulatedDevice(seed) as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
        with engine.pipeline() as pipeline, device.stream() as mine, device.allocate(frame.nbytes) as memory:
            device.to_device(memory.address, frame, mine)
            array = DeviceArray(memory.address, frame.shape, frame.dtype, 64, device, mine)
            kept = device.allocate(nbytes * len(regions))
            for i, region in enumerate(regions):
                outputs = pipeline.enqueue_frame(array, [region], "gray8")
                device.copy(kept.address + i * nbytes, outputs[RMSE].address, nbytes, pipeline.stream)
            got = np.empty((len(regions), toy.CLASSES), np.float32)
            device.to_host(got, kept.address, pipeline.stream)
        expected = np.concatenate([_rmse(as_input(frame, region, toy.GRAY)) for region in regions])
        np.testing.assert_allclose(got, expected, atol=tolerances.ONE_LEVEL)
        engine.close()


def test_sampling_takes_the_callers_noise(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", sampling=True))
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal((2, toy.CLASSES, LATENT), dtype=np.float32)
        batch = images(2)
        with engine.pipeline() as pipeline:
            assert_purified(pipeline.run(batch, noise), batch, noise=noise)
            for call in (
                lambda pipeline: pipeline.run(images(2)),  # would take the noise of the call before
                lambda pipeline: pipeline.enqueue(images(2)),
                lambda pipeline: pipeline.frame(np.zeros((28, 28), np.uint8), [(0, 0, 28, 28)], "gray8"),
                lambda pipeline: pipeline.enqueue_frame(images(2), [(0, 0, 28, 28)], "gray8"),
            ):
                with pytest.raises(InputError, match="noise"):
                    call(pipeline)
    engine.close()


def test_noise_that_nobody_samples_with_is_refused(pipeline: GpuPipeline) -> None:
    with pytest.raises(InputError, match="sigma > 0 only"):
        pipeline.run(images(1), np.zeros((1, toy.CLASSES, LATENT), np.float32))


def test_the_score_takes_the_engines_bias_and_the_dead_zone(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", score=Score(tau=0.0, kl_weight=0.5)))
    batch = images(8)
    with engine.pipeline() as pipeline:
        assert_purified(pipeline.run(batch), batch, biases=BIASES)
    engine.close()
    engine = open_on(device, save_gpu_bundle(tmp_path / "zone", score=Score(tau=0.2)))
    with engine.pipeline() as pipeline:
        score = pipeline.run(batch).purified.score
    excess = np.maximum(np.abs(batch[:, None] - toy.candidates(batch)) - 0.2, 0)
    np.testing.assert_allclose(score, (excess**2).sum(axis=(2, 3, 4)), rtol=tolerances.HALF_SUM)
    engine.close()


def test_all_nan_is_reported(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", template=float("nan")))
    with engine.pipeline() as pipeline:
        outcome = pipeline.run(images(2))
        assert outcome.labels.tolist() == [-1, -1] == outcome.purified.projected.tolist()
        assert np.isnan(outcome.purified.images).all()
        with device.stream() as mine, device.allocate(images(1).nbytes) as memory:
            device.fill(memory.address, 0, images(1).nbytes, mine)
            array = DeviceArray(memory.address, (1, *toy.GRAY.shape), np.dtype(np.float32), 3136, device, mine)
            flags = np.from_dlpack(pipeline.enqueue(array)["flags"])
            assert flags.tolist() == [FLAG_NO_CANDIDATE | FLAG_SOME_NAN]
    engine.close()


def test_no_uninitialised_byte_is_copied_to_the_host(pipeline: GpuPipeline) -> None:
    """compute-sanitizer's initcheck would report it."""
    pipeline.run(images(1))
    layout = Layout(pipeline._engines.outputs, 1)
    ends = {layout.offsets[field.name] + field.entry_bytes for field in layout.fields}
    gaps = [pipeline._buffers.outbox.host.array[end : aligned(end)] for end in ends]
    assert sum(map(len, gaps)) and all((gap == 0).all() for gap in gaps)


def test_an_engine_with_a_least_batch_serves_smaller_ones(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", batch=(4, 8)))
    with engine.pipeline() as pipeline:
        for count in (1, 3, 5, 1):
            assert_purified(pipeline.run(images(count)), images(count))
        pipeline.frame(np.zeros((30, 30), np.uint8), [(0, 0, 30, 30)], "gray8")
    engine.close()


def test_a_frame_larger_than_the_buffer_makes_it_grow(pipeline: GpuPipeline, device: EmulatedDevice) -> None:
    small, large = np.zeros((40, 40, 3), np.uint8), np.full((1300, 2000, 3), 128, np.uint8)
    for frame in (small, small, large, small, large):
        outcome = pipeline.frame(frame, [(0, 0, frame.shape[1], frame.shape[0])], "bgr8")
        expected = _rmse(as_input(frame, None, toy.GRAY))
        np.testing.assert_allclose(outcome.purified.rmse, expected, atol=tolerances.ONE_LEVEL)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda p: p.run(images(9)), "1 to 8"),
        (lambda p: p.run(images(2)[:, :, :1, :1]), r"expected float32 \(2, 1, 28, 28\)"),
        (lambda p: p.run(images(2).astype(np.float64)), "got float64"),
        (lambda p: p.frame([[1]], [(0, 0, 4, 4)], "gray8"), "got list, expected a uint8 array"),
        (lambda p: p.frame(np.zeros((4, 4, 3), np.uint8), [(0, 0, 4, 4)], "gray8"), r"\[H,W\]"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [(0, 0, 4, 4)], "yuv"), "expected one of nv12"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [(0, 0, 4, 4)], "nv12"), "even sides"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [], "gray8"), "batch of 0"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [(0, 0, 4)], "gray8"), r"expected \(x, y, width, height\)"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [(0, 0, 4), (0, 0, 4, 4)], "gray8"), "width, height"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [(0.5, 0, 4, 4)], "gray8"), "integers; round them"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [(-(2**40), 0, 4, 4)], "gray8"), "cut them to the frame"),
        (lambda p: p.frame(np.zeros((4, 4), np.uint8), [(2**70, 0, 4, 4)], "gray8"), "width, height"),
        (lambda p: p.enqueue_frame(np.zeros((4, 4), np.uint8), [(0, 0, 1)], "gray8"), "width, height"),
        (lambda p: p.enqueue([1, 2]), "device memory"),
        (lambda p: p.enqueue(images(2)[:, :, :14]), "contiguous float32"),
    ],
)
def test_refusals(pipeline: GpuPipeline, call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(pipeline)


@pytest.mark.parametrize("region", [(50, 0, 5, 5), (-5, -5, 5, 5), (0, 0, 0, 4), (0, 0, 1 << 21, 4)], ids=str)
def test_a_region_that_shows_nothing_of_the_frame_has_no_label(pipeline: GpuPipeline, region) -> None:
    frame = np.full((40, 50), 200, np.uint8)
    for _ in range(3):
        outcome = pipeline.frame(frame, [region, (0, 0, 50, 40)], "gray8")
        assert outcome.labels.tolist() == [-1, toy.logits(outcome.purified.images[1:]).argmax()]
        assert np.isnan(outcome.purified.images[0]).all() and not np.isnan(outcome.purified.images[1]).any()


def test_a_pipeline_of_ones_own_owns_all_that_it_opened(tmp_path: Path) -> None:
    bundle, batch = save_gpu_bundle(tmp_path / "bundle"), images(2)
    with EmulatedDevice() as device:
        with GpuPipeline.load(bundle, device=device) as pipeline:
            assert_purified(pipeline.run(batch), batch)
        assert device.free_memory() == device.properties.total_memory
        assert not device.closed, "the caller's"
    with GpuPipeline.load(bundle, device="emulated:3", classifier=False, graphs=2) as pipeline:
        own = pipeline.device
        assert pipeline.run(batch).logits is None
    pipeline.close()
    assert own.closed
    with pytest.raises(ContractError, match="built for the CPU"):
        GpuPipeline.load(toy.save_bundle(tmp_path / "cpu"), device="emulated")


def test_torch_tensors_go_in_and_out_of_a_loaded_pipeline(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    batch = images(4)
    with GpuPipeline.load(save_gpu_bundle(tmp_path / "bundle"), device="emulated") as pipeline:
        memory = pipeline.device.allocate(batch.nbytes)
        array = DeviceArray(memory.address, batch.shape, batch.dtype, 3136, pipeline.device, pipeline.stream, memory)
        tensor = torch.from_dlpack(array)
        for seed in range(3):
            tensor.copy_(torch.from_numpy(images(4, seed)))
            rmse = torch.from_dlpack(pipeline.enqueue(tensor)[RMSE])
            np.testing.assert_allclose(rmse.numpy(), _rmse(images(4, seed)), atol=tolerances.HALF_PIXEL)


def test_a_pipeline_whose_device_is_lost_still_closes(tmp_path: Path, caplog) -> None:
    device = EmulatedDevice()
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
    with pytest.raises(DeviceError, match="division"), engine.pipeline() as pipeline:
        device.enqueue(pipeline.stream, "engine", lambda: 1 / 0)
        pipeline.run(images(1))
    engine.close()
    assert "after a fault" in caplog.text


def test_two_pipelines_in_two_threads_on_one_device(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))

    def work(seed: int) -> None:
        with engine.pipeline() as pipeline:
            for repeat in range(6):
                batch = images(1 + (seed + repeat) % 3, seed=100 * seed + repeat)
                assert_purified(pipeline.run(batch), batch)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, seed) for seed in range(4)]:
            done.result()
    engine.close()


def test_everything_is_freed(tmp_path: Path) -> None:
    with EmulatedDevice() as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
        engine.run(images(3))
        assert device.free_memory() < device.properties.total_memory
        engine.close()
        assert device.free_memory() == device.properties.total_memory
        with pytest.raises(ClosedError):
            engine.run(images(1))


def test_an_engine_closed_during_a_call_lets_it_finish(tmp_path: Path) -> None:
    with EmulatedDevice() as device:
        engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
        with engine.pipeline() as pipeline:
            engine.close()
            assert_purified(pipeline.run(images(1)), images(1))
        assert device.free_memory() == device.properties.total_memory
