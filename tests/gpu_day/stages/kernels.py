"""The kernels against their oracles, then timed; and once more as NVRTC makes them of the sources."""

from __future__ import annotations

from dataclasses import asdict
from unittest import mock

from export.kernel_check import check_kernels
from export.kernel_times import time_kernels
from puvae_rt.contract import MEASURED
from puvae_rt.device import Device, open_device
from puvae_rt.kernels import binary
from tests.gpu_day.stage import Day


def run(day: Day) -> None:
    """Agreement, microseconds a launch and share of a copy's bandwidth."""
    with open_device(day.device) as device:
        check(day, device, "built")
        day.tell("times", value=[asdict(time) for time in time_kernels(device)])
    if device.evidence == MEASURED:
        with mock.patch.object(binary, "listed", lambda *_: []), open_device(day.device) as device:
            check(day, device, "nvrtc")


def check(day: Day, device: Device, name: str) -> None:
    """Hold every kernel to its oracle; AssertionError names the cases that differ."""
    p = device.properties
    origin = binary.find(p.compute_capability, p.driver_version).origin if device.evidence == MEASURED else "host shim"
    cases = check_kernels(device)
    wrong = [asdict(case) for case in cases if not case.passed]
    worst = {kernel: max(c.error for c in cases if c.kernel == kernel) for kernel in {c.kernel for c in cases}}
    found = {"origin": origin, "cases": len(cases), "agree": len(cases) - len(wrong), "wrong": wrong, "worst": worst}
    day.tell("oracles", name, value=found)
    assert not wrong, f"{len(wrong)} of {len(cases)} cases differ from their oracle"
