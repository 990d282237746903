"""Tests that need a real NVIDIA GPU. Elsewhere each is skipped, and says what is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from puvae_rt.device import Device, open_device
from puvae_rt.doctor.checks import diagnose
from puvae_rt.doctor.report import Report
from puvae_rt.errors import PuvaeError


@pytest.fixture
def device() -> Iterator[Device]:
    """A GPU, whatever TensorRT serves it or not."""
    try:
        opened = open_device()
    except PuvaeError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(scope="session")
def machine() -> Report:
    """The doctor's report of a machine that can run a GPU target."""
    report = diagnose()
    if not report.gpu_ready:
        missing = "; ".join(f"{check.name}: {check.found}" for check in report.checks if check.ok is False)
        pytest.skip(f"no GPU target is ready here ({missing})")
    return report


@pytest.fixture(scope="session")
def target(machine: Report) -> str:
    return next(target for target in machine.ready if target != "cpu")
