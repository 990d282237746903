"""A bundle on a GPU, or on the emulated one: the engine as the quality gate runs it, and a report of the rest."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from export.kernel_check import check_kernels
from export.kernel_times import time_kernels
from puvae_rt.contract import EMULATED, MEASURED
from puvae_rt.device import Device, open_device
from puvae_rt.doctor.board import board_checks
from puvae_rt.errors import ContractError
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.gpu.pool import GpuEngine, open_gpu_engine
from puvae_rt.gpu.profile import Profile, profile
from puvae_rt.gpu.profile_frames import profile_frames
from puvae_rt.kernels import binary
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.bundle import HOST, open_bundle
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.runtime.results import Floats, Purified
from puvae_rt.version import __version__

GPU = "gpu"
COMPARED = 32  # images of the graph against plain calls
RUNS = {MEASURED: 1000, EMULATED: 3}  # of a latency; an emulated one shows that it is taken, and no more
IDENTITY = ("model", "target", "precision", "passes", "sigma", "source_sha256", "tools")  # of the bundle
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")


@contextmanager
def opened(folder: Path, manifest: Manifest, name: str) -> Iterator[tuple[Device, GpuEngine]]:
    """Yield a device and a bundle's engine on it; `name` is "gpu" for the first one, or what `open_device` takes."""
    if manifest.target in HOST:
        raise ContractError(f"--device {name}: {folder} is built for the CPU; leave the option out, or build for a GPU")
    with open_device(None if name == GPU else name) as device:
        # Its quality is what is being found out, so no verdict is asked for.
        engine = open_gpu_engine(open_bundle(folder, require_quality=False), device, available_cpus())
        try:
            yield device, engine
        finally:
            engine.close()


def report(folder: Path, manifest: Manifest, device: Device, engine: GpuEngine, images: Floats) -> dict[str, Any]:
    """All of the report but the quality: machine, kernels against their twins, graph against plain calls, latency.

    Args:
        folder: the bundle.
        manifest: its own.
        device: opened.
        engine: the bundle's on it.
        images: float32 [N,C,H,W] to run on.
    """
    kernels = check_kernels(device)
    with engine.pipeline() as pipeline:
        sizes = sorted({1, max(manifest.options.batch)})
        batches = [images[:size] for size in sizes if size <= min(len(images), pipeline.max_batch)]
        same = _graph_equals_plain(pipeline, images[:COMPARED])
        runs = RUNS[device.evidence]
        profiles = [profile(pipeline, batch, runs, _noise(pipeline, len(batch))) for batch in batches]
        frames = profile_frames(pipeline, runs)
        obstacles = pipeline.obstacles
    return {
        "evidence": device.evidence,
        "software": {"python": platform.python_version(), "system": platform.platform(), "puvae_rt": __version__},
        "built": {name: getattr(manifest, name) for name in IDENTITY},
        "device": _described(device),
        "board": {check.name: check.found for check in board_checks()},
        "kernels": {"passed": all(k.passed for k in kernels), "cases": [asdict(k) for k in kernels]},
        "graph": {
            "captured": all(p.captured for p in profiles),
            "equals_plain_calls": same,
            "obstacles": obstacles,
        },
        "latency": [_latency(p) for p in profiles],
        "frames": frames,
        "kernel_times": [asdict(k) for k in time_kernels(device)],
        "sanitizer": sanitizer_commands(folder),
    }


def passed(section: dict[str, Any]) -> bool:
    """Whether kernels agree with their twins and graph replays with plain calls."""
    return bool(section["kernels"]["passed"] and section["graph"]["equals_plain_calls"])


def show(section: dict[str, Any]) -> str:
    """The section in a few lines."""
    device, kernels, graph = section["device"], section["kernels"], section["graph"]
    wrong = [case for case in kernels["cases"] if not case["passed"]]
    lines = [
        "",
        f"{section['evidence']} on {device['name']} {device['compute_capability']}, kernels: {device['kernels']}",
        f"kernels against their twins: {len(kernels['cases']) - len(wrong)} of {len(kernels['cases'])} agree",
        *(f"  {case['kernel']} {case['case']}: error {case['error']:.3g}, limit {case['limit']:g}" for case in wrong),
        f"graph replay equals plain calls: {'yes' if graph['equals_plain_calls'] else 'NO'}",
    ]
    for latency in section["latency"]:
        call, gpu, enqueue = (latency[name]["p50"] for name in ("call", "gpu", "enqueue"))
        lines.append(
            f"batch {latency['batch']}: call {call:.3f} ms, of it GPU {gpu:.3f}, enqueue {enqueue:.3f} (medians)"
        )
    for name, ms in section["frames"].items():
        found = f"p50 {ms['p50']:.3f} ms, p99 {ms['p99']:.3f}, p99.9 {ms['p99_9']:.3f}"
        lines.append(f"{name.replace('_', ' ')} to label: {found}")
    for time in section["kernel_times"]:
        share = f"{time['gigabytes_per_second']:.3g} GB/s, {time['share_of_copy']:.0%} of a copy's"
        lines.append(f"{time['kernel']} {time['case']}: {time['microseconds']:.2f} us, {share}")
    return "\n".join([*lines, "under compute-sanitizer:", *(f"  {command}" for command in section["sanitizer"])])


def sanitizer_commands(folder: Path) -> list[str]:
    """The commands to run under compute-sanitizer, which slows a kernel down a hundredfold: few images are enough."""
    command = f"python -m puvae_rt verify {folder} --device {GPU} --images 10"
    return [f"compute-sanitizer --tool {tool} --error-exitcode 1 {command}" for tool in SANITIZERS]


def _graph_equals_plain(pipeline: GpuPipeline, images: Floats) -> bool:
    """Whether a replay gives what plain calls give, bit for bit: it runs the captured kernels in their order."""
    step = pipeline.max_batch
    for i in range(0, len(images), step):
        batch = images[i : i + step]
        noise = _noise(pipeline, len(batch))
        pipeline.stage(batch, noise)
        pipeline.plan_for_batch(len(batch)).enqueue()
        plain = pipeline.collect(len(batch)).purified
        for _ in range(2):  # the first captures, the second replays
            pipeline.forget()
            if not _equal(plain, pipeline.run(batch, noise).purified):
                return False
    return True


def _noise(pipeline: GpuPipeline, count: int) -> Floats | None:
    """The noise of an engine that samples, the same at every call; None for others."""
    if not pipeline.takes_noise:
        return None
    return np.random.default_rng(0).standard_normal((count, pipeline.classes, LATENT), dtype=np.float32)


def _equal(a: Purified, b: Purified) -> bool:
    pairs = ((a.images, b.images), (a.projected, b.projected), (a.rmse, b.rmse), (a.score, b.score))
    return all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in pairs)


def _described(device: Device) -> dict[str, Any]:
    p = device.properties
    return {
        "layer": device.layer,
        "name": p.name,
        "compute_capability": ".".join(map(str, p.compute_capability)),
        "driver_cuda": ".".join(map(str, p.driver_version)),
        "multiprocessors": p.multiprocessors,
        "integrated": p.integrated,
        "host_memory": p.host_kind.value,
        "total_memory": p.total_memory,
        "free_memory": device.free_memory(),
        "kernels": "host shim"
        if device.evidence == EMULATED
        else binary.find(p.compute_capability, p.driver_version).origin,
    }


def _latency(p: Profile) -> dict[str, Any]:
    return {**asdict(p), "as_trtexec_counts": dict(p.as_trtexec_counts)}
