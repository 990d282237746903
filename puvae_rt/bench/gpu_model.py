"""A roofline model of an engine's latency on GPUs that are not here, from TensorRT's own layer list.

Each kernel takes as long as its bytes or its multiply-adds need, whichever is more, at a share of the published peak,
and no less than a kernel takes to start and drain. Frames follow each other on one stream, replayed as a graph. The
result is a model's: it ranks engines and shows what bounds them. It is no measurement, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from puvae_rt.bench.gpus import GPUS, Gpu
from puvae_rt.errors import BenchmarkError
from puvae_rt.pictures import panels, save_figure
from puvae_rt.runtime.manifest import Layer, Manifest

EVIDENCE = "modelled"
RECORDED = Path(__file__).parent / "engines"  # manifests of MNIST's, as TensorRT-RTX 1.7 built them
# Shares of the peaks, and microseconds, that the model assumes; the report repeats them.
BANDWIDTH_SHARE = 0.75  # what streaming kernels reach
COMPUTE_SHARE = 0.35  # small convolutions and matrices that fill no more than a part of the GPU
KERNEL_US = {False: 2.0, True: 4.0}  # least time of a kernel in a graph, on a discrete and on an integrated GPU
CALL_US = {False: 8.0, True: 12.0}  # of a graph's launch and the host's waking up
COPY_US, LINK = 6.0, 12e9  # each copy over PCIe: its start, and bytes a second of four lanes of PCIe 4.0 and more
_FP32, _FP16 = 4, 2


@dataclass(frozen=True)
class Kernel:
    """What one layer of the list costs: multiply-adds, bytes moved, and the precision it computes in."""

    name: str
    macs: float
    bytes: float
    precision: str


@dataclass(frozen=True)
class Modelled:
    """One engine on one GPU at one batch size.

    Attributes:
        milliseconds: from the frame in host memory to the label there.
        images_per_second: of calls one after the other.
        memory_ms, compute_ms, start_ms: of kernels bound by each; `other_ms`: copies and the call itself.
    """

    gpu: str
    engine: str
    precision: str
    passes: str  # "none" or "exact"
    batch: int
    kernels: int
    milliseconds: float
    images_per_second: float
    memory_ms: float
    compute_ms: float
    start_ms: float
    other_ms: float
    evidence: str = EVIDENCE


def model(manifests: Sequence[Manifest], gpus: Sequence[str], batches: Sequence[int]) -> list[Modelled]:
    """Every engine on every GPU at those of the batch sizes that it takes.

    Raises:
        BenchmarkError: an unknown GPU, an engine whose costs are not known, or no batch size that fits.
    """
    for name in gpus:
        if name not in GPUS:
            raise BenchmarkError(f"--model-gpu {name}: expected some of {', '.join(GPUS)}")
    for manifest in manifests:
        _check(manifest, batches)
    return [
        _modelled(manifest, gpu, batch)
        for manifest in manifests
        for gpu in gpus
        for batch in batches
        if batch <= max(manifest.options.batch)
    ]


def engine_name(manifest: Manifest) -> str:
    """An engine by its model, precision and passes, as the picture labels it."""
    return f"{manifest.model} {manifest.precision} {_passes(manifest)}"


def _passes(manifest: Manifest) -> str:
    return "exact" if manifest.passes else "none"


def _check(manifest: Manifest, batches: Sequence[int]) -> None:
    name, largest = engine_name(manifest), max(manifest.options.batch)
    if not sum(layer.macs for layer in manifest.engine.layers):
        raise BenchmarkError(
            f"{name}: no costs in its layer list, expected those of a TensorRT engine; build it with "
            "`puvae build --target rtx --precision fp16`"
        )
    if min(batches) > largest:
        raise BenchmarkError(
            f"{name}: built for batches up to {largest}, asked for {min(batches)}; give a smaller --batch"
        )


def _modelled(manifest: Manifest, key: str, batch: int) -> Modelled:
    gpu = GPUS[key]
    parts = {"memory": 0.0, "compute": 0.0, "start": 0.0}
    kernels = [*_preprocess(manifest, batch), *_engine(manifest.engine.layers, batch), *_selection(manifest, batch)]
    for kernel in kernels:
        bound, seconds = _duration(kernel, gpu)
        parts[bound] += seconds
    other = CALL_US[gpu.integrated] * 1e-6 + (0 if gpu.integrated else _copies(manifest, batch))
    total = sum(parts.values()) + other
    return Modelled(
        gpu=key,
        engine=engine_name(manifest),
        precision=manifest.precision,
        passes=_passes(manifest),
        batch=batch,
        kernels=len(kernels),
        milliseconds=total * 1e3,
        images_per_second=batch / total,
        memory_ms=parts["memory"] * 1e3,
        compute_ms=parts["compute"] * 1e3,
        start_ms=parts["start"] * 1e3,
        other_ms=other * 1e3,
    )


def _duration(kernel: Kernel, gpu: Gpu) -> tuple[str, float]:
    """What bounds it, and for how many seconds."""
    peak = gpu.fp16 if kernel.precision == "fp16" else gpu.fp32
    return max(
        ("memory", kernel.bytes / (gpu.bandwidth * BANDWIDTH_SHARE)),
        ("compute", 2 * kernel.macs / (peak * COMPUTE_SHARE)),
        ("start", KERNEL_US[gpu.integrated] * 1e-6),
        key=lambda bound: bound[1],
    )


def _engine(layers: Sequence[Layer], batch: int) -> list[Kernel]:
    """Layers that launch: those that move or compute something."""
    return [
        Kernel(layer.name, batch * layer.macs, batch * layer.tensor_bytes + layer.weight_bytes, layer.precision)
        for layer in layers
        if layer.macs or layer.tensor_bytes
    ]


def _selection(manifest: Manifest, batch: int) -> list[Kernel]:
    """select_projection: reads every candidate once, writes one."""
    candidate = _FP16 if manifest.precision == "fp16" else _FP32
    pixels, decoded = manifest.contract.pixels, manifest.shortlist or len(manifest.classes)
    read = pixels * (decoded * candidate + _FP32)
    return [
        Kernel("select_projection", batch * pixels * decoded, batch * (read + pixels * (candidate + _FP32)), "fp32")
    ]


def _preprocess(manifest: Manifest, batch: int) -> list[Kernel]:
    """A region of twice the model's side, in three bytes a pixel."""
    pixels = manifest.contract.height * manifest.contract.width
    moved = batch * (4 * pixels * 3 + manifest.contract.pixels * _FP32)
    return [Kernel("preprocess", batch * 4 * pixels * 3, moved, "fp32")]


def _copies(manifest: Manifest, batch: int) -> float:
    """Seconds for regions in and results out over PCIe."""
    pixels, classes = manifest.contract.pixels, len(manifest.classes)
    moved = batch * (4 * pixels * 3 + pixels * _FP32 + 2 * classes * _FP32)
    return 2 * COPY_US * 1e-6 + moved / LINK


def document(results: Sequence[Modelled]) -> dict[str, Any]:
    """What is written as JSON: the results with their evidence and assumptions."""
    used = sorted({result.gpu for result in results})
    return {
        "evidence": EVIDENCE,
        "assumptions": {
            "bandwidth_share": BANDWIDTH_SHARE,
            "compute_share": COMPUTE_SHARE,
            "kernel_us": {"discrete": KERNEL_US[False], "integrated": KERNEL_US[True]},
            "call_us": {"discrete": CALL_US[False], "integrated": CALL_US[True]},
            "copy_us": COPY_US,
            "link_bytes_per_second": LINK,
            "weights": "read from memory at every call, though many GPUs keep them in L2",
            "classifier": "not included: it is the user's",
        },
        "gpus": {key: asdict(GPUS[key]) for key in used},
        "results": [asdict(result) for result in results],
    }


def table(results: Sequence[Modelled]) -> str:
    """One line for each engine and GPU, with what its time goes to."""
    width = max(len(result.engine) for result in results)
    head = f"{'gpu':<10} {'engine':<{width}}  batch  kernels        ms  images/s  memory  compute   start   other"
    lines = [
        f"{r.gpu:<10} {r.engine:<{width}}  {r.batch:>5}  {r.kernels:>7}  {r.milliseconds:>8.3f}"
        f"  {r.images_per_second:>8.0f}  {r.memory_ms:>6.3f}  {r.compute_ms:>7.3f}  {r.start_ms:>6.3f}"
        f"  {r.other_ms:>6.3f}"
        for r in results
    ]
    return "\n".join([head, *lines, f"{EVIDENCE}, not measured: see the assumptions in the JSON"])


def save_picture(results: Sequence[Modelled], path: Path) -> None:
    """Bars of the smallest batch: each GPU's engines side by side."""
    smallest = min(result.batch for result in results)
    shown = [result for result in results if result.batch == smallest]
    gpus, engines = (list(dict.fromkeys(getattr(r, field) for r in shown)) for field in ("gpu", "engine"))
    figure, grid = panels(1, 1, (11, 4.5))
    axes = grid[0, 0]
    bar = 0.8 / len(engines)
    for i, engine in enumerate(engines):
        heights = [next(r.milliseconds for r in shown if (r.gpu, r.engine) == (gpu, engine)) for gpu in gpus]
        drawn = axes.bar([x + i * bar for x in range(len(gpus))], heights, bar, label=engine)
        axes.bar_label(drawn, fmt="%.2f", fontsize=7)
    axes.set_xticks([x + 0.4 - bar / 2 for x in range(len(gpus))], [GPUS[gpu].name for gpu in gpus], fontsize=7)
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds a call")
    axes.set_title(f"Modelled (not measured) latency, batch {smallest}")
    axes.legend(fontsize=8, loc="upper right")
    save_figure(figure, path, dpi=120)
