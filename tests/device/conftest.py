"""Every device layer: emulated, the real wrappers over an emulated driver, and a real GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from puvae_rt.device import Device, libcuda, open_device, pycuda
from puvae_rt.device import cuda as cuda_python
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import PuvaeError
from tests.device.driver import FakeDriver
from tests.device.fake_pycuda import FakeLibcuda, FakePycuda

Opener = Callable[..., Device]


def cuda_over(monkeypatch: pytest.MonkeyPatch, device: EmulatedDevice) -> Device:
    monkeypatch.setattr(cuda_python, "load_api", lambda: FakeDriver(device))
    monkeypatch.setattr(cuda_python, "kernel_image", lambda properties: b"image")
    return cuda_python.CudaDevice()


def pycuda_over(monkeypatch: pytest.MonkeyPatch, device: EmulatedDevice) -> Device:
    monkeypatch.setattr(pycuda, "load_api", lambda: FakePycuda(device))
    monkeypatch.setattr(pycuda, "kernel_image", lambda properties: b"image")
    monkeypatch.setattr(libcuda, "load", lambda: FakeLibcuda(device))
    return pycuda.PycudaDevice()


@pytest.fixture(
    params=["emulated", "cuda over emulation", "pycuda over emulation", pytest.param("cuda", marks=pytest.mark.gpu)]
)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    if request.param == "cuda":
        try:
            opened = open_device("cuda")
        except PuvaeError as error:
            pytest.skip(str(error))
    elif request.param == "emulated":
        opened = EmulatedDevice(seed=3)
    else:
        over = cuda_over if request.param.startswith("cuda") else pycuda_over
        opened = over(monkeypatch, EmulatedDevice(seed=3))
    with opened:
        yield opened


@pytest.fixture
def emulated() -> Iterator[EmulatedDevice]:
    with EmulatedDevice(seed=0) as device:
        yield device
