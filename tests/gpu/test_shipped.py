"""The shipped model through the whole GPU pipeline on the emulated device, against the CPU target."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import build
from puvae_rt import Purifier
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.device.emulated.device import EMULATED
from puvae_rt.errors import BuildError, ContractError, UnknownModelError
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.tensorrt import DEFAULT_COMPUTE_CAPABILITIES
from puvae_rt.runtime import bundle as source
from puvae_rt.runtime import on_demand
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped
from tests import tolerances
from tests.gpu.bundles import save_gpu_bundle
from tests.runtime import toy

pytest.importorskip("tensorrt_rtx", reason="the engine is built by TensorRT-RTX: pip install '.[rtx]'")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Here engines are worth keeping from test to test. The gate has tests of its own, and takes a minute."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUVAE_CACHE", str(folder))
        patch.setattr(on_demand, "build_on_demand", build_here)
        yield folder


def build_here(
    model: str, target: str, precision: str, out: Path, capabilities: tuple[str, ...], choice: Mapping[str, Any]
) -> Path:
    settings = build.BuildSettings(
        model, out, target, precision, verify=False, compute_capabilities=capabilities, **choice
    )
    return build.build(settings)[0]


@pytest.fixture
def gpu(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Purifier]:
    monkeypatch.setenv("PUVAE_CACHE", str(cache))
    with Purifier.load("mnist", target="rtx", device="emulated") as purifier:
        yield purifier


@pytest.fixture
def cpu(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Purifier]:
    monkeypatch.setenv("PUVAE_CACHE", str(cache))
    with Purifier.load("mnist") as purifier:
        yield purifier


@pytest.mark.slow
def test_the_thousand_shipped_images(gpu: Purifier, cpu: Purifier) -> None:
    images = np.load(shipped("mnist").path(SAMPLES_FILE))["images"]
    got, want = gpu.purify(images), cpu.purify(images)
    same = got.projected == want.projected
    assert same.mean() >= tolerances.HALF_AGREEMENT
    np.testing.assert_allclose(got.images[same], want.images[same], atol=tolerances.HALF_NETWORK)
    both = got.decoded & want.decoded  # FP16 may rank two unlikely classes the other way round
    assert both.sum() >= tolerances.HALF_AGREEMENT * want.decoded.sum()
    np.testing.assert_allclose(got.rmse[both], want.rmse[both], atol=tolerances.HALF_NETWORK)


def shown(name: str, count: int = 6) -> np.ndarray:
    """Images of the model, or smooth ones where none ship; uint8."""
    model = shipped(name)
    if SAMPLES_FILE in model.sha256:
        return np.load(model.path(SAMPLES_FILE))["images"][:count]  # type: ignore[no-any-return]
    coarse = np.random.default_rng(0).integers(0, 256, (count, model.contract.channels, 4, 4), np.uint8)
    side = model.contract.height // 4
    return np.kron(coarse, np.ones((1, 1, side, side), np.uint8))


CHOICES = {
    "mnist": ("mnist", {}),
    "traffic-signs": ("traffic_signs", {}),
    "traffic-signs-five": ("traffic_signs", {"shortlist": 5}),
    "mnist-all-classes": ("mnist", {"shortlist": 10}),
    "traffic-signs-without-prior": ("traffic_signs", {"prior": "none"}),
    "mnist-without-prior-all-told": ("mnist", {"prior": "none", "shortlist": 10}),
}


@pytest.mark.parametrize("name, choice", CHOICES.values(), ids=CHOICES)
def test_in_fp32_it_is_the_cpus_engine(tmp_path: Path, name: str, choice: dict[str, Any]) -> None:
    settings = build.BuildSettings(name, tmp_path, "rtx", "fp32", verify=False, **choice)
    folder, manifest = build.build(settings)
    images = np.divide(shown(name), 255, dtype=np.float32)
    with GpuPipeline.load(folder, device="emulated", **choice) as pipeline, Purifier.load(name, **choice) as cpu:
        assert pipeline.shortlist == manifest.shortlist
        got, want = pipeline.run(images).purified, cpu.purify(images)
    np.testing.assert_array_equal(got.decoded, want.decoded)
    assert want.decoded.sum(axis=1).tolist() == [manifest.shortlist or len(manifest.classes)] * len(images)
    np.testing.assert_array_equal(got.projected, want.projected)
    np.testing.assert_allclose(got.images, want.images, rtol=0, atol=tolerances.EXACT_ATOL)
    np.testing.assert_allclose(got.rmse, want.rmse, rtol=0, atol=tolerances.EXACT_ATOL)
    np.testing.assert_allclose(got.score, want.score, rtol=tolerances.NETWORK_SUM)


def test_a_choice_is_an_engine_of_its_own(gpu: Purifier, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.divide(shown("mnist", 2), 255, dtype=np.float32)
    assert gpu.purify(images).decoded.sum(axis=1).tolist() == [shipped("mnist").shortlist] * 2
    for choice, count in (({"shortlist": 3}, 3), ({"prior": "none"}, 10)):
        with Purifier.load("mnist", target="rtx", device="emulated", **choice) as purifier:
            assert purifier.purify(images).decoded.sum(axis=1).tolist() == [count] * 2
        with monkeypatch.context() as patch:
            patch.setattr(on_demand, "build_on_demand", lambda *a: pytest.fail("built again"))
            with GpuPipeline.load("mnist", target="rtx", device="emulated", **choice) as pipeline:
                assert pipeline.run(images).purified.decoded.sum(axis=1).tolist() == [count] * 2
    with pytest.raises(ContractError, match="shortlist=11: expected 2 to 10 classes"):
        GpuPipeline.load("mnist", target="rtx", device="emulated", shortlist=11)
    with pytest.raises(ContractError, match="shortlist=2 without a prior"):
        GpuPipeline.load("mnist", target="rtx", device="emulated", prior="none", shortlist=2)


def test_camera_frames(gpu: Purifier, cpu: Purifier) -> None:
    images = np.load(shipped("mnist").path(SAMPLES_FILE))["images"]
    random = np.random.default_rng(0)
    for i in range(6):
        frame = random.integers(0, 40, (120, 160, 3), np.uint8)
        frame[20:104, 30:114] = np.kron(images[i, 0], np.ones((3, 3), np.uint8))[..., None]
        region = (30, 20, 84, 84) if i % 2 else (24 + i, 14, 96, 96)
        got, want = gpu(frame, region), cpu(frame, region)
        assert got.label == want.label
        assert not got.degraded
        # One level in the region moves a projection by about as much.
        np.testing.assert_allclose(got.image, want.image, atol=tolerances.RESIZED_NETWORK)
        assert got.timings_ms["total"] >= got.timings_ms["purify"] > 0


def test_the_engine_is_built_once(gpu: Purifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "build_on_demand", lambda *a: pytest.fail("built again"))
    with Purifier.load("mnist", target="rtx", device="emulated:7") as again:
        assert again.classes == gpu.classes


@pytest.mark.parametrize("capability, asked", [((7, 5), ("7.5",)), ((8, 6), None), ((12, 9), ("any",))])
def test_what_is_built_on_demand_is_built_for_the_gpu_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], asked: tuple[str, ...] | None
) -> None:
    seen = []

    def note(*arguments: object) -> Path:
        seen.append(arguments[4])
        raise BuildError("seen enough")

    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path))
    monkeypatch.setattr(on_demand, "build_on_demand", note)
    properties = dataclasses.replace(EMULATED, compute_capability=capability)
    with EmulatedDevice(properties=properties) as device, pytest.raises(BuildError, match="seen enough"):
        Purifier.load("mnist", target="rtx", device=device)
    assert seen == [asked or DEFAULT_COMPUTE_CAPABILITIES]


def test_a_bundle_says_its_target_and_the_device_is_chosen_beside_it(tmp_path: Path) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle")
    frame = (toy.templates()[2, 0] * 255).astype(np.uint8)
    with Purifier.load(bundle, device="emulated") as purifier:
        result = purifier(frame)
        assert result.label == toy.logits(result.image[None]).argmax() != 2
        assert int(purifier.purify(frame[None]).projected[0]) == 2
    with Purifier.load(bundle, device="emulated", classifier=False) as purifier:
        assert purifier(frame).label == 2


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="leave it out"):
        Purifier.load(toy.save_bundle(tmp_path / "cpu"), device="emulated")
    with pytest.raises(ContractError, match="expected one of cuda, pycuda, emulated"):
        Purifier.load(save_gpu_bundle(tmp_path / "gpu"), device="vulkan")
    with pytest.raises(UnknownModelError, match="did you mean 'mnist'"):
        source.built_bundle("mnits", "rtx")
