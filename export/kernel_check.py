"""The kernels on a device against their NumPy twins: what the tests do on the host shim, on the GPU itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export.quality import MAX_NUMBER
from puvae_rt.kernels import PreprocessArgs, SelectProjectionArgs, oracle, preprocess, select_projection
from puvae_rt.kernels.launch import COLORS, FORMATS
from puvae_rt.runtime.device import Device, Memory, Stream

Array = npt.NDArray[Any]

# FP32 sums of up to 3,072 squares, in another order than float64's.
RELATIVE_ERROR = 1e-5
# The kernel is exact: it must give the twin's level, and FP16 the nearest step to it.
PIXEL_ERROR = {np.dtype(np.float32): 1e-7, np.dtype(np.float16): 2.5e-4}
SHAPES = ((1, 10, 784), (3, 10, 784), (2, 43, 3072), (1, 2, 1), (2, 7, 257))  # N, K, D
F16, F32 = np.float16, np.float32


@dataclass(frozen=True)
class KernelResult:
    """One kernel at one shape."""

    kernel: str
    case: str
    error: float  # the largest: relative for distances, absolute for pixels
    limit: float
    passed: bool


def check_kernels(device: Device) -> list[KernelResult]:
    """Every entry point once at least, with ties, NaN, regions that stick out, and odd sizes."""
    with device.stream() as stream:
        return [*_selections(device, stream), *_preprocessings(device, stream)]


def _selections(device: Device, stream: Stream) -> Iterator[KernelResult]:
    """Every combination of storage types, then every shape in those that the pipeline uses."""
    types = list(itertools.product((F32, F16), (F32, F16), (F32, F16, np.uint8)))
    for (n, k, d), (x_type, c_type, stored) in [
        *((SHAPES[0], combination) for combination in types),
        *((shape, (F32, F16, F32)) for shape in SHAPES[1:]),
    ]:
        random = np.random.default_rng(n * k + d)
        x = random.random((n, d), F32).astype(x_type)
        c = random.random((n, k, d), F32).astype(c_type)
        c[:, -1] = c[:, 0]  # a tie, which the lowest index wins
        c[0, k // 2, 0] = np.nan
        bias = random.random((n, k), F32)
        bias[:, -1] = bias[:, 0]
        yield _selection(device, stream, x, c, bias, stored)


def _selection(device: Device, stream: Stream, x: Array, c: Array, bias: Array, stored: Any) -> KernelResult:
    n, k, d = c.shape
    want = oracle.select_projection(x, c, 0.1, bias, stored)
    outputs = [
        np.empty(s, t) for s, t in (((n, d), stored), ((n,), np.int64), ((n, k), F32), ((n, k), F32), ((n,), np.int32))
    ]
    launch = select_projection(n, k, d, x.dtype, c.dtype, stored)
    buffers = [_uploaded(device, stream, array) for array in (x, c, bias, *outputs, np.zeros(n, np.uint32))]
    ax, ac, ab, *written = (buffer.address for buffer in buffers)
    names = ("purified", "index", "rmse", "score", "flags", "arrivals")
    addresses = dict(zip(names, written, strict=True))
    arguments = SelectProjectionArgs(ax, ac, ab, 0.1, **addresses, classes=k, size=d).values()
    device.kernels().launch(launch, arguments, stream)
    for array, buffer in zip(outputs, buffers[3:], strict=False):
        device.to_host(array, buffer.address, stream)
    stream.synchronize()
    for buffer in buffers:
        buffer.close()
    purified, index, rmse, score, flags = outputs
    exact: list[tuple[Array, Array]] = [(index, want.index), (flags, want.flags), (purified, want.purified)]
    same = all(np.array_equal(got, expected, equal_nan=got.dtype.kind == "f") for got, expected in exact)
    error = _bounded(max(_relative(rmse, want.rmse), _relative(score, want.score)))
    return KernelResult(launch.entry, f"{n}x{k}x{d}", error, RELATIVE_ERROR, same and error <= RELATIVE_ERROR)


def _preprocessings(device: Device, stream: Stream) -> Iterator[KernelResult]:
    random = np.random.default_rng(0)
    regions = np.array([(0, 0, 90, 60), (-7, 5, 40, 40), (50, 20, 20, 31), (80, 50, 30, 30)], np.int32)
    for layout in FORMATS:
        shape = {"nv12": (90, 90), "gray8": (60, 90)}.get(layout, (60, 90, 3))
        frame = random.integers(0, 256, shape, np.uint8)
        for channels in COLORS:
            for dtype in (F32, F16):
                yield _preprocessing(device, stream, frame, regions, layout, channels, dtype)


def _preprocessing(
    device: Device, stream: Stream, frame: Array, regions: Array, layout: str, channels: int, dtype: Any
) -> KernelResult:
    side, rows = 28, 60
    want = oracle.preprocess(frame, [tuple(map(int, r)) for r in regions], layout, channels, side, side, dtype)
    got = np.empty(want.shape, dtype)
    pixels, boxes, image = (_uploaded(device, stream, array) for array in (frame, regions, got))
    pitch = frame.strides[0]
    chroma = pixels.address + rows * pitch if layout == "nv12" else 0
    arguments = PreprocessArgs(
        pixels.address, chroma, pitch, pitch if chroma else 0, 90, rows, boxes.address, image.address, 0, side, side
    )
    launch = preprocess(len(regions), layout, channels, side, side, dtype)
    device.kernels().launch(launch, arguments.values(), stream)
    device.to_host(got, image.address, stream)
    stream.synchronize()
    for buffer in (pixels, boxes, image):
        buffer.close()
    error, limit = _bounded(float(np.abs(got.astype(F32) - want.astype(F32)).max())), PIXEL_ERROR[np.dtype(dtype)]
    return KernelResult(launch.entry, f"{len(regions)} regions", error, limit, error <= limit)


def _uploaded(device: Device, stream: Stream, array: Array) -> Memory:
    memory = device.allocate(array.nbytes)
    device.to_device(memory.address, np.ascontiguousarray(array), stream)
    return memory


def _relative(got: Array, want: Array) -> float:
    """Infinity where one is NaN and the other is not."""
    if not np.array_equal(np.isnan(got), np.isnan(want)):
        return float("inf")
    finite = np.isfinite(want)
    return float((np.abs(got[finite] - want[finite]) / np.maximum(np.abs(want[finite]), 1e-30)).max(initial=0.0))


def _bounded(error: float) -> float:
    """JSON has neither NaN nor infinity."""
    return error if error < MAX_NUMBER else MAX_NUMBER
