"""TensorRT-RTX's kernels are compiled once on a machine, and anew where the old ones do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from puvae_rt.device import Device
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.tensorrt import library
from tests.device.conftest import cuda_over
from tests.gpu import fake_tensorrt
from tests.gpu.bundles import save_gpu_bundle
from tests.gpu.test_pipeline import assert_purified, images


@pytest.fixture
def emulated() -> EmulatedDevice:
    return EmulatedDevice(seed=2)


@pytest.fixture
def gpu(emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with cuda_over(monkeypatch, emulated) as device:
        yield device


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    return save_gpu_bundle(tmp_path / "bundle", classifier=False, serialized=True)


class Process:
    """A new one: TensorRT-RTX knows nothing of what the last compiled."""

    def __init__(self, gpu: Device, emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
        self._gpu, self._emulated, self._monkeypatch = gpu, emulated, monkeypatch

    def compiled(self, bundle: Path, environment: bytes = b"driver 1") -> int:
        """How many kernels it compiles for a few calls."""
        thread = self._gpu.driver.api.thread
        fake = fake_tensorrt.FakeTensorrtRtx(self._emulated, lambda: getattr(thread, "context", 0) == 1)
        fake.environment = environment
        self._monkeypatch.setattr(library, "load", lambda target: fake)
        with GpuPipeline.load(bundle, device=self._gpu) as pipeline:
            for count in (1, 3, 3, 3):
                assert_purified(pipeline.run(images(count)), images(count))
        assert fake.contexts == 2
        return fake.compiled


@pytest.fixture
def process(gpu: Device, emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(gpu, emulated, monkeypatch)


def test_the_second_process_compiles_nothing(process: Process, bundle: Path) -> None:
    assert [process.compiled(bundle) for _ in range(3)] == [1, 0, 0]


def test_kernels_of_another_driver_are_replaced(process: Process, bundle: Path) -> None:
    assert process.compiled(bundle) == 1
    assert [process.compiled(bundle, b"driver 2") for _ in range(2)] == [1, 0]


def test_damaged_kernels_never_reach_the_library(process: Process, bundle: Path, tmp_path: Path) -> None:
    process.compiled(bundle)
    (path,) = (tmp_path / "cache" / "kernels").glob("rtx-*.bin")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"kernel", b"colonel"))
    assert [process.compiled(bundle) for _ in range(2)] == [1, 0]
    assert path.read_bytes() == content


def test_two_engines_keep_their_own(process: Process, bundle: Path, tmp_path: Path) -> None:
    other = save_gpu_bundle(tmp_path / "other", classifier=False, serialized=True, template=0.5)
    with pytest.raises(AssertionError):
        process.compiled(other)  # another model's results
    process.compiled(bundle)
    assert len(list((tmp_path / "cache" / "kernels").glob("rtx-*.bin"))) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(process, bundle, tmp_path, monkeypatch, caplog) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "file"))
    assert [process.compiled(bundle) for _ in range(2)] == [1, 1]
    assert "kernel cache" in caplog.text and "cannot be written" in caplog.text
