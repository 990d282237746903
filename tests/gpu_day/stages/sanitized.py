"""What runs under compute-sanitizer: every kernel at every shape, and nothing else."""

from __future__ import annotations

from puvae_rt.device import open_device
from tests.gpu_day.stage import Day
from tests.gpu_day.stages.kernels import check


def run(day: Day) -> None:
    """The tool's own verdict is the exit code."""
    with open_device(day.device) as device:
        check(day, device, "sanitized")
