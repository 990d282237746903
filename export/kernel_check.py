"""The kernels on a device against their NumPy twins: what the tests do on the host shim, on the GPU itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.quality import MAX_NUMBER
from puvae_rt.device import Device, Memory, Stream
from puvae_rt.kernels import PreprocessArgs, SelectProjectionArgs, oracle, preprocess, select_projection
from puvae_rt.kernels.launch import COLORS, FORMATS

Array = npt.NDArray[Any]

# FP32 sums of up to 3,072 squares, in another order than float64's.
RELATIVE_ERROR = 1e-5
# The kernel is exact: it must give the twin's level, and FP16 the nearest step to it.
PIXEL_ERROR = {np.dtype(np.float32): 1e-7, np.dtype(np.float16): 2.5e-4}
F16, F32 = np.float16, np.float32


class Shape(NamedTuple):
    """The sizes of a `select_projection` launch."""

    images: int
    classes: int
    size: int
    shift: int = 0  # elements by which every image starts past a boundary of vectors
    shortlist: int | None = None  # candidates of an image; None: one of every class

    @property
    def candidates(self) -> int:
        """Candidates of an image."""
        return self.classes if self.shortlist is None else self.shortlist

    def __str__(self) -> str:
        of = "" if self.shortlist is None else f" of {self.classes} classes"
        return f"{self.images}x{self.candidates}x{self.size}{of}" + (f" off by {self.shift}" if self.shift else "")


SHAPES = (
    Shape(1, 10, 784),
    Shape(3, 10, 784),
    Shape(3, 10, 784, shift=1),
    Shape(2, 43, 3072),
    Shape(1, 1000, 37, shift=3),
    Shape(1, 2, 65_536),
    Shape(1, 2, 1),
    Shape(2, 7, 257, shift=5),
    Shape(3, 10, 784, shortlist=2),
    Shape(5, 43, 3072, shortlist=4),
    Shape(2, 1000, 37, shift=3, shortlist=77),
    Shape(2, 10, 257, shortlist=10),
)
FRAME = (60, 90)  # height, width
PITCH_PADDING = 7  # bytes between the rows of a frame: any pitch must do


@dataclass(frozen=True)
class KernelResult:
    """How far one kernel at one shape was from its twin."""

    kernel: str
    case: str
    error: float  # the largest: relative for distances, absolute for pixels
    limit: float
    passed: bool


def check_kernels(device: Device) -> list[KernelResult]:
    """Run every entry point at least once, with ties, NaN, lists of classes, some of which are none, regions that stick
    out, and odd sizes."""
    with device.stream() as stream:
        return [*_selections(device, stream), *_preprocessings(device, stream)]


def _selections(device: Device, stream: Stream) -> Iterator[KernelResult]:
    """Run every combination of storage types, then every shape in those that the pipeline uses."""
    types = list(itertools.product((F32, F16), (F32, F16), (F32, F16, np.uint8)))
    for shape, (x_type, c_type, stored) in [
        *((SHAPES[0], combination) for combination in types),
        *((shape, (F32, F16, F32)) for shape in SHAPES[1:]),
    ]:
        n, m, d = shape.images, shape.candidates, shape.size
        random = np.random.default_rng(n * m + d)
        x = random.random((n, d), F32).astype(x_type)
        c = random.random((n, m, d), F32).astype(c_type)
        c[:, -1] = c[:, 0]  # a tie, which the lowest index wins
        c[0, m // 2, 0] = np.nan
        bias = random.random((n, m), F32)
        bias[:, -1] = bias[:, 0]
        yield _selection(device, stream, shape, x, c, bias, stored, _listed(random, shape))


def _listed(random: np.random.Generator, shape: Shape) -> Array | None:
    """The classes of the candidates, another order for each image; the last image's hold none, and one twice."""
    if shape.shortlist is None:
        return None
    listed = np.stack([random.permutation(shape.classes)[: shape.candidates] for _ in range(shape.images)]).astype(
        np.int32
    )
    listed[-1, 0], listed[-1, 1] = shape.classes, listed[-1, -1]
    return listed


def _selection(
    device: Device, stream: Stream, shape: Shape, x: Array, c: Array, bias: Array, stored: Any, listed: Array | None
) -> KernelResult:
    n, k, d, shift, _ = shape
    want = oracle.select_projection(x, c, 0.1, bias, stored, listed, k)
    outputs = [
        np.empty(s, t) for s, t in (((n, d), stored), ((n,), np.int64), ((n, k), F32), ((n, k), F32), ((n,), np.int32))
    ]
    launch = select_projection(n, k, d, x.dtype, c.dtype, stored, shape.shortlist)
    images = [_uploaded(device, stream, array, shift) for array in (x, c, outputs[0])]
    others = [_uploaded(device, stream, array) for array in (bias, *outputs[1:], np.zeros(n, np.uint32))]
    if listed is not None:
        others.append(_uploaded(device, stream, listed))
    (ax, ac, ap), (ab, *rest) = ([buffer.address for buffer in buffers] for buffers in (images, others))
    names = ("purified", "index", "rmse", "score", "flags", "arrivals")
    al = 0 if listed is None else rest.pop()
    addresses = dict(zip(names, (ap, *rest), strict=True))
    counts = {"class_count": k, "size": d, "classes": al, "candidate_count": shape.candidates}
    arguments = SelectProjectionArgs(ax, ac, ab, 0.1, **addresses, **counts).values()
    device.kernels().launch(launch, arguments, stream)
    for name, array in zip(names, outputs, strict=False):
        device.to_host(array, addresses[name], stream)
    stream.synchronize()
    for buffer in (*images, *others):
        buffer.close()
    purified, index, rmse, score, flags = outputs
    exact: list[tuple[Array, Array]] = [(index, want.index), (flags, want.flags), (purified, want.purified)]
    same = all(np.array_equal(got, expected, equal_nan=got.dtype.kind == "f") for got, expected in exact)
    error = _bounded(max(_relative(rmse, want.rmse), _relative(score, want.score)))
    return KernelResult(launch.entry, str(shape), error, RELATIVE_ERROR, same and error <= RELATIVE_ERROR)


def _preprocessings(device: Device, stream: Stream) -> Iterator[KernelResult]:
    random = np.random.default_rng(0)
    regions = np.array([(0, 0, 90, 60), (-7, 5, 40, 40), (50, 20, 20, 31), (80, 50, 30, 30)], np.int32)
    for layout in FORMATS:
        height, width = FRAME
        shape = {"nv12": (height * 3 // 2, width), "gray8": FRAME}.get(layout, (*FRAME, 3))
        frame = random.integers(0, 256, shape, np.uint8)
        for channels in COLORS:
            for dtype in (F32, F16):
                yield _preprocessing(device, stream, frame, regions, layout, channels, dtype)


def _preprocessing(
    device: Device, stream: Stream, frame: Array, regions: Array, layout: str, channels: int, dtype: Any
) -> KernelResult:
    side, (rows, columns) = 28, FRAME
    want = oracle.preprocess(frame, [tuple(map(int, r)) for r in regions], layout, channels, side, side, dtype)
    split = oracle.split_phases(want)
    got, got_split = np.empty(want.shape, dtype), np.empty(split.shape, dtype)
    padded = np.pad(frame.reshape(len(frame), -1), ((0, 0), (0, PITCH_PADDING)))
    pixels, boxes, image, phases = (_uploaded(device, stream, array) for array in (padded, regions, got, got_split))
    pitch = padded.strides[0]
    chroma = pixels.address + rows * pitch if layout == "nv12" else 0
    plane = (pixels.address, chroma, pitch, pitch if chroma else 0, columns, rows)
    arguments = PreprocessArgs(*plane, boxes.address, image.address, phases.address, side, side)
    launch = preprocess(len(regions), layout, channels, side, side, dtype)
    device.kernels().launch(launch, arguments.values(), stream)
    for array, buffer in ((got, image), (got_split, phases)):
        device.to_host(array, buffer.address, stream)
    stream.synchronize()
    for buffer in (pixels, boxes, image, phases):
        buffer.close()
    error = _bounded(max(_absolute(got, want), _absolute(got_split, split)))
    limit = PIXEL_ERROR[np.dtype(dtype)]
    return KernelResult(launch.entry, f"{len(regions)} regions", error, limit, error <= limit)


class Uploaded(NamedTuple):
    """An array's copy on the device."""

    memory: Memory
    address: int

    def close(self) -> None:
        """Free the device's memory."""
        self.memory.close()


def _uploaded(device: Device, stream: Stream, array: Array, shift: int = 0) -> Uploaded:
    """`shift` elements past the start of an allocation."""
    memory = device.allocate(array.nbytes + shift * array.itemsize)
    address = memory.address + shift * array.itemsize
    device.to_device(address, np.ascontiguousarray(array), stream)
    return Uploaded(memory, address)


def _absolute(got: Array, want: Array) -> float:
    """The largest absolute difference; infinity where what was got is NaN."""
    return float("inf") if np.isnan(got).any() else float(np.abs(got.astype(F32) - want.astype(F32)).max())


def _relative(got: Array, want: Array) -> float:
    """The largest relative difference; infinity where one is NaN or infinite and the other is not."""
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return float("inf")
    return float((np.abs(got[finite] - want[finite]) / np.maximum(np.abs(want[finite]), 1e-30)).max(initial=0.0))


def _bounded(error: float) -> float:
    """The number within what JSON can hold, which has neither NaN nor infinity."""
    return error if error < MAX_NUMBER else MAX_NUMBER
