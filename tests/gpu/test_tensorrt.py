"""TensorRT's wrapper and the CUDA layer, both as they are, over stand-ins for the library and the driver."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.device import Device
from puvae_rt.device.arrays import DeviceArray
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.device.emulated.device import EMULATED
from puvae_rt.errors import BundleError, DeviceError, TargetUnavailableError
from puvae_rt.gpu import loading
from puvae_rt.gpu import pipeline as pipeline_module
from puvae_rt.gpu import tensorrt as trt
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.pool import open_gpu_engine
from puvae_rt.gpu.tensorrt import library as library_module
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.manifest import Manifest
from tests.device.conftest import cuda_over
from tests.device.driver import FakeDriver
from tests.gpu import fake_tensorrt
from tests.gpu.bundles import save_gpu_bundle
from tests.gpu.test_listed import COUNT, assert_chosen_among
from tests.gpu.test_pipeline import assert_purified, images
from tests.runtime import toy

API = json.loads((Path(__file__).parents[1] / "contracts/tensorrt.json").read_text())

RTX_ONLY = ("is_stream_capturable", "create_runtime_config")


@pytest.fixture
def emulated() -> EmulatedDevice:
    return EmulatedDevice(seed=2)


@pytest.fixture
def gpu(emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with cuda_over(monkeypatch, emulated) as device:
        yield device


@pytest.fixture
def library(gpu: Device, emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> fake_tensorrt.FakeTensorrt:
    thread = gpu.driver.api.thread
    fake = fake_tensorrt.FakeTensorrt(emulated, lambda: getattr(thread, "context", 0) == 1)
    monkeypatch.setattr(library_module, "load", lambda target: fake)
    return fake


def open_on(gpu: Device, bundle: Path):
    return open_gpu_engine(resolve(bundle, None, False), gpu, threads=1)


@pytest.mark.parametrize("target", ["rtx", "tensorrt"])
def test_the_pipeline_runs_on_tensorrt(gpu, library, tmp_path: Path, target: str) -> None:
    engine = open_on(gpu, save_gpu_bundle(tmp_path / "bundle", target=target, classifier=False, serialized=True))
    frame = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    with engine.pipeline() as pipeline:
        for repeat in range(4):
            for count in (1, 5):
                assert_purified(pipeline.run(images(count, repeat)), images(count, repeat))
            pipeline.frame(frame, [(repeat, 0, 30, 30)], "bgr8")
    engine.close()
    assert library.contexts == 3, "one context for each captured shape"
    assert library.device.snapshot().captures == 3
    assert library.device.snapshot().pageable_copies == 0


@pytest.mark.parametrize("target", ["rtx", "tensorrt"])
def test_the_classes_that_an_engine_lists_come_through_tensorrt(gpu, library, tmp_path: Path, target: str) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle", target=target, classifier=False, serialized=True, shortlist=COUNT)
    with GpuPipeline.load(bundle, device=gpu) as pipeline:
        for repeat in range(3):
            assert_chosen_among(pipeline.run(images(3, repeat)).purified, images(3, repeat))


def test_a_context_that_makes_room_is_freed_when_its_work_is_done(gpu, library, emulated, tmp_path: Path) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True)
    with GpuPipeline.load(bundle, device=gpu, classifier=False, graphs=2) as pipeline, emulated.stream() as stream:
        batches = {count: emulated.allocate(images(count).nbytes) for count in range(1, 9)}
        for memory in batches.values():
            emulated.fill(memory.address, 0, memory.nbytes, stream)
        stream.synchronize()
        for _ in range(3):
            for count, memory in batches.items():
                shape = (count, *toy.GRAY.shape)
                pipeline.enqueue(DeviceArray(memory.address, shape, np.dtype(np.float32), 3136, gpu))
    assert library.contexts >= 3 * len(batches) - 2, "each shape pushes another out"
    assert library.freed_while_running == 0


def test_a_kernel_that_the_driver_does_not_describe_keeps_the_graph(gpu, library, tmp_path, monkeypatch) -> None:
    """Only the preprocess kernel's arguments change; those of other libraries' kernels are nobody's business."""
    described = FakeDriver._cuGraphKernelNodeGetParams

    def only_ours(driver: FakeDriver, node: object) -> object:
        if not driver.of(node).launch.entry.startswith("preprocess"):
            raise DeviceError("cuGraphKernelNodeGetParams", "CUDA_ERROR_INVALID_VALUE", "no such kernel")
        return described(driver, node)

    monkeypatch.setattr(FakeDriver, "_cuGraphKernelNodeGetParams", only_ours)
    frame = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    bundle = save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True)
    with GpuPipeline.load(bundle, device=gpu, classifier=False) as pipeline:
        for x in range(5):
            pipeline.frame(frame, [(x, 0, 30 + x, 40)], "gray8")
            plan = pipeline.plan_for_frame(1, "gray8")
        assert plan.obstacle is None and plan.captured


def test_an_engine_that_cannot_be_captured_says_so_once_it_is_warm(gpu, library, tmp_path: Path, caplog) -> None:
    engine = open_on(gpu, save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True))
    library.capturable = False
    with engine.pipeline() as pipeline:
        for repeat in range(3):
            assert_purified(pipeline.run(images(2, repeat)), images(2, repeat))
        assert "cannot be captured" in (pipeline.plan_for_batch(2).obstacle or "")
        assert pipeline.obstacles == {"batch 2": pipeline.plan_for_batch(2).obstacle}
    engine.close()
    assert len([r for r in caplog.records if "without a CUDA graph" in r.message]) == 1


def test_tensorrt_finds_its_gpu_current_in_every_thread(gpu, library, tmp_path: Path) -> None:
    engine = open_on(gpu, save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True))
    with engine.pipeline() as pipeline, ThreadPoolExecutor(1) as other:
        for repeat in range(3):  # the first call of a thread, and after another library has chosen its own
            other.submit(setattr, gpu.driver.api.thread, "context", 2 if repeat else 0).result()
            outcome = other.submit(pipeline.run, images(2, repeat)).result()
            assert_purified(outcome, images(2, repeat))
    engine.close()


def test_a_refused_engine_brings_tensorrts_own_words(gpu, library, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="magicTagRead") as caught:
        open_on(gpu, save_gpu_bundle(tmp_path / "bundle", classifier=False))
    assert caught.value.call == "deserialize_cuda_engine"


def test_a_refused_engine_of_the_cache_is_built_anew_at_the_next_start(gpu, library, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    for folder, stays in ((tmp_path / "cache" / "engines" / "slot", False), (tmp_path / "bundle", True)):
        with pytest.raises(DeviceError, match="magicTagRead"):
            open_on(gpu, save_gpu_bundle(folder, classifier=False))
        assert folder.exists() == stays


def test_a_refused_run_brings_tensorrts_own_words(gpu, library, tmp_path: Path) -> None:
    engine = open_on(gpu, save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True))
    library.refuse_enqueue = True
    with pytest.raises(DeviceError, match="layer 7"):
        engine.run(images(1))
    engine.close()


def test_identity_is_checked_before_the_library_sees_the_bytes(gpu, library, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"built by tensorrt_rtx 0\.9, this machine has 1\.0"):
        open_on(gpu, save_gpu_bundle(tmp_path / "old", version="0.9"))
    other = save_gpu_bundle(tmp_path / "other")
    toy.edit_manifest(other, options={"batch": [1, 8], "compute_capabilities": ["7.5"], "verify": True})
    with pytest.raises(BundleError, match=r"compute capabilities 7\.5, this GPU \(emulated GPU\) has 8\.9"):
        open_on(gpu, other)
    tampered = save_gpu_bundle(tmp_path / "tampered")
    (tampered / "engine.plan").write_bytes(b"something else")
    with pytest.raises(BundleError, match="sha256"):
        open_on(gpu, tampered)
    assert not hasattr(library, "logger"), "no Runtime was made"


@pytest.mark.parametrize(
    "capability, remedy",
    [
        ((7, 5), "--compute-capability 7.5"),
        ((12, 9), "--compute-capability any"),
        ((13, 0), "--compute-capability any"),
    ],
)
def test_a_bundle_for_other_gpus_tells_what_builds_one_for_this(tmp_path: Path, capability, remedy: str) -> None:
    manifest = Manifest.read(save_gpu_bundle(tmp_path / "bundle"))  # for 8.9
    properties = dataclasses.replace(EMULATED, compute_capability=capability)
    with pytest.raises(BundleError, match=f"rebuild it with `{remedy}`"):
        library_module.check_identity(manifest, properties, "1.0", tmp_path)
    asked = tuple(remedy.split()[1:])
    assert library_module.check_compute_capabilities("rtx", asked) == library_module.capabilities_for("rtx", capability)


@pytest.mark.parametrize("capability", [(8, 7), (9, 0), (10, 0), (10, 3), (11, 0), (7, 0)])
def test_a_gpu_that_tensorrt_rtx_does_not_serve_is_told_before_anything_is_built(
    library, emulated, monkeypatch, tmp_path: Path, capability: tuple[int, int]
) -> None:
    emulated.properties = dataclasses.replace(EMULATED, compute_capability=capability)
    with cuda_over(monkeypatch, emulated) as gpu:
        with pytest.raises(TargetUnavailableError, match=r"does not serve .* build with --target tensorrt"):
            open_on(gpu, save_gpu_bundle(tmp_path / "rtx"))
        open_on(gpu, save_gpu_bundle(tmp_path / "trt", target="tensorrt", classifier=False, serialized=True)).close()


def test_an_engine_of_another_model_is_refused(gpu, library, tmp_path: Path) -> None:
    bundle = save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True)
    contract = {"channels": 1, "height": 32, "width": 32, "range": [0, 1]}
    toy.edit_manifest(bundle, contract=contract)
    with pytest.raises(BundleError, match="engine's inputs"):
        open_on(gpu, bundle)


def test_the_library_is_missing() -> None:
    with pytest.raises(TargetUnavailableError, match="python3-libnvinfer"):
        trt.load("tensorrt")


def test_the_names_of_before_forward() -> None:
    sys.modules.pop("export.trt", None)  # another test may have imported it, and was warned
    with pytest.warns(DeprecationWarning):
        before = import_module("export.trt")
    assert before.build_plan is trt.build_plan and before.COMPUTE_CAPABILITIES is trt.COMPUTE_CAPABILITIES
    with pytest.warns(DeprecationWarning, match="is now load"):
        assert trt.load_module is trt.load
    with pytest.warns(DeprecationWarning, match="is now SerializedEngine"):
        assert trt.Plan is trt.SerializedEngine
    with pytest.warns(DeprecationWarning, match="is now PurifiedBatch"):
        assert pipeline_module.Outcome is pipeline_module.PurifiedBatch
    with pytest.warns(DeprecationWarning, match=r"is now puvae_rt\.gpu\.pool\.open_gpu_engine"):
        assert loading.open_gpu_engine is open_gpu_engine
    with pytest.warns(DeprecationWarning, match=r"is now puvae_rt\.gpu\.tensorrt\.library\.MODULES"):
        assert trt.MODULES == {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
    with pytest.raises(AttributeError):
        trt.nothing  # noqa: B018


@pytest.mark.parametrize("release", sorted(API))
def test_the_stand_in_has_tensorrts_signatures(release: str, library) -> None:
    api = API[release]["classes"]
    kinds = [fake_tensorrt.IExecutionContext, fake_tensorrt.ICudaEngine, library.Runtime]
    if release.startswith("rtx"):
        kinds += [fake_tensorrt.IRuntimeCache, fake_tensorrt.IRuntimeConfig]
    for kind in kinds:
        for name, member in vars(kind).items():
            if name.startswith("_") or (name in RTX_ONLY and not release.startswith("rtx")):
                continue
            given = list(inspect.signature(member).parameters)[1:]
            if name == "create_execution_context" and not release.startswith("rtx"):
                given = []  # only TensorRT-RTX is given a configuration
            overloads = [[parameter.rstrip("=") for parameter in names] for names in api[kind.__name__][name]]
            assert given in overloads or not given, f"{kind.__name__}.{name}"
    assert {member.name for member in fake_tensorrt.DataType} <= api["DataType"].keys()
    assert {member.name for member in fake_tensorrt.TensorIOMode} <= api["TensorIOMode"].keys()
    if release == "rtx 1.7.1.116":
        assert {member.name for member in fake_tensorrt.ComputeCapability} <= api["ComputeCapability"].keys()
