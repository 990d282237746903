"""The pipeline over an engine that decodes some classes of each image: what it gives is told of all of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.contract import NO_LABEL, RMSE, SCORE, ImageContract, Score
from puvae_rt.device.arrays import DeviceArray
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import BundleError, ContractError
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.kernels.launch import FLAG_NO_CANDIDATE, FLAG_SOME_NAN
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.runtime.preprocess import as_input
from puvae_rt.runtime.results import Purified
from tests import tolerances
from tests.gpu.bundles import BIASES, likeliest, save_gpu_bundle
from tests.gpu.conftest import open_on
from tests.gpu.test_pipeline import images
from tests.runtime import toy

COUNT = 3


def assert_chosen_among(
    got: Purified,
    batch: np.ndarray,
    contract: ImageContract = toy.GRAY,
    noise: np.ndarray | None = None,
    biases: np.ndarray | float = 0.0,
    atol: float = tolerances.HALF_PIXEL,
) -> None:
    projections = toy.candidates(batch, contract, noise)
    squares = (batch[:, None] - projections) ** 2
    decoded = np.zeros((len(batch), toy.CLASSES), bool)
    np.put_along_axis(decoded, likeliest(batch, COUNT, contract), True, axis=1)
    np.testing.assert_array_equal(got.decoded, decoded)
    labels = np.where(decoded, squares.sum(axis=(2, 3, 4)) + biases, np.inf).argmin(axis=1)
    np.testing.assert_array_equal(got.projected, labels)
    np.testing.assert_allclose(got.images, projections[np.arange(len(batch)), labels], atol=atol)
    np.testing.assert_allclose(got.rmse[decoded], np.sqrt(squares.mean(axis=(2, 3, 4)))[decoded], atol=atol)


def test_the_images_of_these_tests_differ_in_their_classes() -> None:
    assert len({tuple(row) for row in likeliest(images(8), COUNT).tolist()}) > 3
    assert not (np.diff(likeliest(images(8), COUNT), axis=1) > 0).all(), "in another order than the classes"


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
@pytest.mark.parametrize("contract", [toy.GRAY, toy.COLOR], ids=["gray", "color"])
def test_batches_of_every_size(device: EmulatedDevice, tmp_path: Path, contract: ImageContract, half: bool) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle", contract, half=half, shortlist=COUNT)
    with GpuPipeline.load(bundle, device=device) as pipeline:
        assert (pipeline.shortlist, pipeline.classes) == (COUNT, toy.CLASSES)
        for repeat in range(3):  # plainly, captured, replayed
            for count in (1, 3, 8):
                batch = images(count, 10 * repeat + count, contract)
                assert_chosen_among(pipeline.run(batch).purified, batch, contract)


def test_biases_are_of_the_classes_listed(device: EmulatedDevice, tmp_path: Path) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle", score=Score(kl_weight=0.5), shortlist=COUNT)
    with GpuPipeline.load(bundle, device=device) as pipeline:
        batch = images(8)
        assert_chosen_among(pipeline.run(batch).purified, batch, biases=BIASES)


def test_sampling_takes_noise_of_every_class(device: EmulatedDevice, tmp_path: Path) -> None:
    batch, random = images(2), np.random.default_rng(0)
    noise = random.standard_normal((2, toy.CLASSES, LATENT), dtype=np.float32)
    bundle = save_gpu_bundle(tmp_path / "bundle", sampling=True, shortlist=COUNT)
    with GpuPipeline.load(bundle, device=device) as pipeline:
        assert_chosen_among(pipeline.run(batch, noise).purified, batch, noise=noise)


def test_frames_and_batches_in_device_memory(device: EmulatedDevice, tmp_path: Path) -> None:
    frame, batch = np.random.default_rng(2).integers(0, 256, (60, 80, 3), np.uint8), images(3)
    regions = [(0, 0, 80, 60), (-5, 10, 40, 44)]
    shown = np.concatenate([as_input(frame, region, toy.GRAY) for region in regions])
    bundle = save_gpu_bundle(tmp_path / "bundle", shortlist=COUNT)
    with GpuPipeline.load(bundle, device=device) as pipeline, device.stream() as mine:
        memory = device.allocate(batch.nbytes)
        device.to_device(memory.address, batch, mine)
        array = DeviceArray(memory.address, batch.shape, batch.dtype, batch[0].nbytes, device, mine)
        for _ in range(3):
            outcome = pipeline.frame(frame, regions, "bgr8")
            assert_chosen_among(outcome.purified, shown, atol=tolerances.ONE_LEVEL)
            outputs = pipeline.enqueue(array)
            rmse, score = (np.from_dlpack(outputs[name]) for name in (RMSE, SCORE))
            assert (np.isfinite(score) == np.isfinite(rmse)).all() and np.isfinite(rmse).sum() == 3 * COUNT
        memory.close()


def test_an_image_without_a_number_has_no_label_and_spoils_no_other(device: EmulatedDevice, tmp_path: Path) -> None:
    frame = np.random.default_rng(2).integers(0, 256, (40, 50), np.uint8)
    with GpuPipeline.load(save_gpu_bundle(tmp_path / "bundle", shortlist=COUNT), device=device) as pipeline:
        got = pipeline.frame(frame, [(90, 90, 4, 4), (0, 0, 50, 40)], "gray8").purified
        assert got.projected[0] == NO_LABEL != got.projected[1]
        assert np.isnan(got.images[0]).all()
        assert_chosen_among(
            Purified(got.images[1:], got.projected[1:], got.rmse[1:], got.score[1:]),
            as_input(frame, None, toy.GRAY),
            atol=tolerances.ONE_LEVEL,
        )
    bundle = save_gpu_bundle(tmp_path / "nan", template=float("nan"), shortlist=COUNT)
    with GpuPipeline.load(bundle, device=device) as pipeline, device.allocate(images(1).nbytes) as memory:
        got = pipeline.run(images(1)).purified
        assert got.projected[0] == NO_LABEL and np.isnan(got.score).sum() == COUNT == got.decoded.sum()
        device.to_device(memory.address, images(1), pipeline.stream)
        array = DeviceArray(memory.address, (1, *toy.GRAY.shape), np.dtype(np.float32), 3136, device, pipeline.stream)
        assert np.from_dlpack(pipeline.enqueue(array)["flags"]).tolist() == [FLAG_NO_CANDIDATE | FLAG_SOME_NAN]


def test_a_purifier_takes_it_from_several_pipelines(device: EmulatedDevice, tmp_path: Path) -> None:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle", shortlist=COUNT))
    with engine.pipeline() as first, engine.pipeline() as second:
        assert first.shortlist == second.shortlist == COUNT
        assert_chosen_among(second.run(images(2)).purified, images(2))
    engine.close()


def test_no_more_memory_is_taken_than_for_the_candidates_that_there_are(tmp_path: Path) -> None:
    taken = []
    for count in (None, COUNT):
        bundle = save_gpu_bundle(tmp_path / str(count), half=False, shortlist=count)
        with EmulatedDevice() as device, GpuPipeline.load(bundle, device=device, classifier=False):
            taken.append(device.properties.total_memory - device.free_memory())
    assert taken[0] - taken[1] >= 8 * (toy.CLASSES - COUNT) * toy.GRAY.pixels * 4


def test_a_bundle_keeps_its_own_shortlist(tmp_path: Path) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle", shortlist=COUNT)
    for load in (GpuPipeline.load, Purifier.load):
        load(bundle, device="emulated", prior="model", shortlist=COUNT).close()
        for choice, message in (
            ({"shortlist": 2}, "built to decode 3 of 5 classes, asked for shortlist=2"),
            ({"prior": "none"}, "built with its prior, asked for prior='none'"),
            ({"prior": "flat"}, "prior: got 'flat', expected one of model, none"),
        ):
            with pytest.raises(ContractError, match=message):
                load(bundle, device="emulated", **choice)


@pytest.mark.parametrize(
    ("built", "told", "message"),
    [
        (None, COUNT, r"engine's outputs: got .*expected .*'classes': \(3,\)"),
        (COUNT, None, r"engine's outputs: got .*'classes': \(3,\).*expected"),
        (COUNT, 2, r"engine's outputs: got .*expected .*'classes': \(2,\)"),
    ],
)
def test_an_engine_of_another_shortlist_than_its_manifests_is_refused(
    device: EmulatedDevice, tmp_path: Path, built: int | None, told: int | None, message: str
) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle", shortlist=built)
    dataclasses.replace(Manifest.read(bundle), shortlist=told).write(bundle)
    with pytest.raises(BundleError, match=message):
        GpuPipeline.load(bundle, device=device)
