"""How long the kernels take on a device, and what share of the speed of its memory that is."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from puvae_rt.contract import MEASURED
from puvae_rt.device import Device, Stream
from puvae_rt.kernels import PreprocessArgs, SelectProjectionArgs, preprocess, select_projection
from puvae_rt.kernels.launch import Launch

F16, F32 = np.float16, np.float32


class Effort(NamedTuple):
    """How much is timed: launches between two events, how often, and the bytes of the copy to compare with."""

    launches: int
    samples: int
    copied: int
    cases: int  # of each kernel, the first ones


EFFORT = Effort(100, 30, 256 << 20, 8)
TRIED = Effort(2, 1, 1 << 16, 1)  # on the emulated device: that it is taken, and no more
# images, classes, candidates, size
SELECTIONS = (
    (1, 10, 2, 784),
    (1, 10, 10, 784),
    (8, 10, 10, 784),
    (128, 10, 10, 784),
    (1, 43, 2, 3072),
    (128, 43, 43, 3072),
)
# layout, height, width, side of the region, channels, side of the image, regions
CUTS = (
    ("bgr8", 480, 640, 80, 1, 28, 1),
    ("bgr8", 1080, 1920, 1080, 3, 32, 1),
    ("nv12", 1080, 1920, 400, 3, 32, 1),
    ("nv12", 2160, 3840, 400, 3, 32, 16),
)


@dataclass(frozen=True)
class KernelTime:
    """The median of a kernel's launches.

    Attributes:
        kernel: its entry point.
        case: the sizes.
        microseconds: of one launch among many.
        gigabytes_per_second: that it reads and writes at the least.
        share_of_copy: the same, of what a copy within the device's memory moves.
    """

    kernel: str
    case: str
    microseconds: float
    gigabytes_per_second: float
    share_of_copy: float


def time_kernels(device: Device) -> list[KernelTime]:
    """Time each kernel at several sizes, replayed as a graph where the device has graphs."""
    effort = EFFORT if device.evidence == MEASURED else TRIED
    with device.stream() as stream:
        copied = _copied_per_second(device, stream, effort)
        timed = [*_selections(device, stream, effort), *_preprocessings(device, stream, effort)]
    return [_result(*each, copied) for each in timed]


def _result(kernel: str, case: str, nbytes: int, seconds: float, copied: float) -> KernelTime:
    speed = nbytes / seconds
    return KernelTime(kernel, case, seconds * 1e6, speed / 1e9, speed / copied)


def _copied_per_second(device: Device, stream: Stream, effort: Effort) -> float:
    """Bytes read and written by a copy."""
    with device.allocate(effort.copied) as source, device.allocate(effort.copied) as target:
        device.fill(source.address, 1, effort.copied, stream)
        copy = lambda: device.copy(target.address, source.address, effort.copied, stream)  # noqa: E731
        return 2 * effort.copied / _seconds(device, stream, copy, effort)


def _selections(device: Device, stream: Stream, effort: Effort) -> Iterator[tuple[str, str, int, float]]:
    for n, k, m, d in SELECTIONS[: effort.cases]:
        sizes = {"input": 4 * n * d, "candidates": 2 * n * m * d, "classes": 4 * n * m, "purified": 4 * n * d}
        sizes |= {"index": 8 * n, "rmse": 4 * n * k, "score": 4 * n * k, "flags": 4 * n, "arrivals": 4 * n}
        with ExitStack() as made:
            addresses = {name: made.enter_context(device.allocate(size)).address for name, size in sizes.items()}
            for name, size in sizes.items():  # zeros are numbers, and class 0 is one
                device.fill(addresses[name], 0, size, stream)
            if m == k:
                addresses["classes"] = 0
            launch = select_projection(n, k, d, F32, F16, F32, None if m == k else m)
            counts = {"candidate_count": m, "class_count": k, "size": d}
            values = SelectProjectionArgs(bias=0, tau=0.1, **addresses, **counts).values()
            seconds = _seconds(device, stream, _launching(device, stream, launch, values), effort)
        nbytes = sizes["input"] + sizes["candidates"] + sizes["purified"]
        yield launch.entry, f"{n} x {m} of {k} x {d}", nbytes, seconds


def _preprocessings(device: Device, stream: Stream, effort: Effort) -> Iterator[tuple[str, str, int, float]]:
    for layout, height, width, cut, channels, side, count in CUTS[: effort.cases]:
        rows, pitch = (height * 3 // 2, width) if layout == "nv12" else (height, 3 * width)
        regions = np.array([(0, 0, cut, cut)] * count, np.int32)
        with ExitStack() as made:
            frame, boxes, image = (
                made.enter_context(device.allocate(nbytes)).address
                for nbytes in (rows * pitch, regions.nbytes, 4 * count * channels * side * side)
            )
            device.fill(frame, 0x55, rows * pitch, stream)
            device.to_device(boxes, regions, stream)
            stream.synchronize()
            chroma = frame + height * pitch if layout == "nv12" else 0
            planes = frame, chroma, pitch, pitch if chroma else 0
            values = PreprocessArgs(*planes, width, height, boxes, image, 0, side, side).values()
            launch = preprocess(count, layout, channels, side, side, F32)
            seconds = _seconds(device, stream, _launching(device, stream, launch, values), effort)
        nbytes = int(count * cut * cut * (1.5 if layout == "nv12" else 3))
        yield launch.entry, f"{count} regions of {cut} x {cut} in {width} x {height}", nbytes, seconds


def _launching(device: Device, stream: Stream, launch: Launch, values: tuple[Any, ...]) -> Callable[[], None]:
    return lambda: device.kernels().launch(launch, values, stream)


def _seconds(device: Device, stream: Stream, enqueue: Callable[[], None], effort: Effort) -> float:
    """Of one of many that follow each other, the median of several tries."""

    def many() -> None:
        for _ in range(effort.launches):
            enqueue()

    many()
    stream.synchronize()
    with ExitStack() as made:
        start, end = (made.enter_context(device.event(timed=True)) for _ in range(2))
        graph = made.enter_context(device.capture(stream, many)) if device.captures else None
        taken = []
        for _ in range(effort.samples):
            start.record(stream)
            many() if graph is None else graph.launch(stream)
            end.record(stream)
            end.synchronize()
            taken.append(end.elapsed_ms(start) / 1e3 / effort.launches)
    return statistics.median(taken)
