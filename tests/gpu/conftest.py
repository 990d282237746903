from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.pool import GpuEngine, open_gpu_engine
from puvae_rt.runtime.bundle import resolve
from tests.gpu.bundles import save_gpu_bundle


def open_on(device: EmulatedDevice, bundle: Path) -> GpuEngine:
    return open_gpu_engine(resolve(bundle, None, True), device, threads=1)


@pytest.fixture
def device() -> Iterator[EmulatedDevice]:
    with EmulatedDevice(seed=5) as device:
        yield device


@pytest.fixture
def pipeline(device: EmulatedDevice, tmp_path: Path) -> Iterator[GpuPipeline]:
    engine = open_on(device, save_gpu_bundle(tmp_path / "bundle"))
    with engine.pipeline() as pipeline:
        yield pipeline
    engine.close()
