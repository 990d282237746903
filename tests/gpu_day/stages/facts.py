"""The machine: driver, processors, libraries, and what the doctor says of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

from puvae_rt.device import open_device
from puvae_rt.doctor.checks import diagnose
from puvae_rt.runtime.machine import available_cpus, cpu_model
from tests.gpu_day.stage import Day

PACKAGES = (
    *("torch", "numpy", "onnx", "onnxruntime", "cuda-bindings", "nvidia-cuda-nvrtc", "cupy-cuda13x"),
    *("opencv-python-headless", "safetensors", "msgspec", "triton", "hypothesis", "pytest"),
)
ASKED = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,memory.used,pstate,temperature.gpu"
TOOLS = ("nvcc", "compute-sanitizer", "ncu", "python3.10")


def run(day: Day) -> None:
    """What later findings are read with; nothing here fails for what is missing."""
    host = {"cpu": cpu_model(), "cpus": available_cpus(), "system": platform.platform()}
    day.tell("host", value=host | {"python": platform.python_version(), "pid": os.getpid()})
    day.tell("packages", value={name: _version(name) for name in PACKAGES})
    day.tell("tools", value={tool: shutil.which(tool) for tool in TOOLS})
    day.tell("nvidia_smi", value=_nvidia_smi())
    report = diagnose(day.device)
    day.tell("doctor", value={"ready": report.ready, "checks": [asdict(check) for check in report.checks]})
    with open_device(day.device) as device:
        p = device.properties
        capability, driver = (".".join(map(str, pair)) for pair in (p.compute_capability, p.driver_version))
        told = {"name": p.name, "compute_capability": capability, "driver_cuda": driver, "evidence": device.evidence}
        day.tell("gpu", value=told | {"multiprocessors": p.multiprocessors, "memory": p.total_memory})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _nvidia_smi() -> str:
    try:
        command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
