"""How the kernels are launched: entry points, geometry and argument lists, for every device layer alike.

A device layer takes a `Launch` and the `values()` of an argument list, whose ctypes types are the kernel's own:
cuLaunchKernel wants a pointer to each, `shim.Shim.launch` takes them as they are.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import numpy as np
from numpy.typing import DTypeLike

from puvae_rt.contract import CHANNELS, MAX_CLASSES, MIN_SHORTLIST
from puvae_rt.errors import ContractError

# Addresses are device addresses (integers); 0 stands for an absent array where that is allowed.
Address = Annotated[int, ctypes.c_void_p]
Int32 = Annotated[int, ctypes.c_int32]
Float32 = Annotated[float, ctypes.c_float]

STORAGE = {np.dtype(np.float32): "f32", np.dtype(np.float16): "f16", np.dtype(np.uint8): "u8"}
FLOATS = ("f32", "f16")
COLORS = {1: "gray", 3: "rgb"}  # channels of the model -> name in an entry point
WARP = 32
MAX_THREADS = 256  # kMaxThreads
MAX_PIXELS = 65_536
CHUNK = 8  # kChunk: consecutive values that one thread loads at once

# preprocess: pixel formats of a frame, 8 bits a sample. NV12 is BT.601 of limited range with even sides.
FORMATS = ("nv12", "bgr8", "rgb8", "gray8")
MAX_OUTPUT_SIDE = 1000  # of the resized image
MAX_REGION_SIDE = 1 << 20  # of a region: its sides times twice the output's stay in 32 bits
MAX_REGIONS = 65_535

# select_projection's `flags`.
FLAG_NO_CANDIDATE = 1  # no score was a number: index -1, the purified row is NaN (0 in uint8)
FLAG_SOME_NAN = 2  # at least one was NaN
FLAG_LEFT_OUT = 4  # a candidate's class was none of the K, or that of a candidate before it: it cannot be chosen


class Launch(NamedTuple):
    """One kernel launch: entry point, grid and block (x, y, z), bytes of dynamic shared memory."""

    entry: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int


class _Arguments:
    """A kernel's argument list: a frozen dataclass whose fields are the kernel's parameters in order."""

    def values(self) -> tuple[Any, ...]:
        """The arguments as ctypes objects, in order."""
        return tuple(kind(getattr(self, name)) for name, kind in _parameters(type(self)))  # type: ignore[arg-type]


@cache
def _parameters(arguments: Any) -> tuple[tuple[str, Any], ...]:
    """Name and ctypes type of each: read from the annotations once, as that takes longer than a frame."""
    hints = get_type_hints(arguments, include_extras=True)
    return tuple((field.name, get_args(hints[field.name])[1]) for field in fields(arguments))


@dataclass(frozen=True)
class SelectProjectionArgs(_Arguments):
    """Arguments of `select_projection_*`; every array is contiguous, aligned to its element, 16 bytes being fastest.

    ContractError for fewer candidates than classes without a list of theirs, and for more.
    """

    input: Address  # [N, D] float32 or float16
    candidates: Address  # [N, m, D] float32 or float16
    bias: Address  # [N, m] float32 added to the score, or 0
    tau: Float32  # dead zone, >= 0
    purified: Address  # [N, D] float32, float16 or uint8 (value * 255, rounded), written
    index: Address  # [N] int64, the class chosen, written; -1 when no score is a number
    rmse: Address  # [N, K] float32, written; NaN for a class without a candidate
    score: Address  # [N, K] float32, written; infinite for a class without a candidate
    flags: Address  # [N] int32 of FLAG_*, written
    arrivals: Address  # [N] uint32, all 0 before the first launch; every launch leaves them 0. One launch at a time
    class_count: Int32  # K, 2 to 1,000
    size: Int32  # D, 1 to 65,536
    classes: Address = 0  # [N, m] int32, the class of each candidate, in any order; or 0: of all K, in order
    candidate_count: Int32 = 0  # m, 2 to K; 0 is K

    def __post_init__(self) -> None:
        if not self.candidate_count:
            object.__setattr__(self, "candidate_count", self.class_count)
        _check_counts(self.candidate_count, self.class_count)
        if not self.classes and self.candidate_count != self.class_count:
            raise ContractError(
                f"classes=0 with {self.candidate_count} candidates of {self.class_count} classes: expected the address "
                "of their classes, int32 [N,m]; give it, or a candidate of every class"
            )


@dataclass(frozen=True)
class PreprocessArgs(_Arguments):
    """Arguments of `preprocess_*`.

    Regions are read from device memory, so that a captured graph serves other regions of the next frame. One that
    does not touch the frame, is empty or has a side over MAX_REGION_SIDE gives an image of NaN, which
    `select_projection` reports.
    """

    pixels: Address  # uint8 rows: interleaved samples, or NV12's luma
    chroma: Address  # NV12's rows of interleaved U and V; 0 for other formats
    pitch: Int32  # bytes from one row of `pixels` to the next; any number that holds a row
    chroma_pitch: Int32
    frame_width: Int32
    frame_height: Int32
    regions: Address  # [R, 4] int32: x, y, width, height in pixels of the frame; may stick out of it
    image: Address  # [R, C, H, W] in [0,1], written; or 0
    phases: Address  # [R * 4, C, H/2, W/2] as puvae.split_phases, written; or 0
    height: Int32  # H and W, both even when `phases` is written
    width: Int32


def _storage(dtype: DTypeLike, allowed: tuple[str, ...], what: str) -> str:
    name = STORAGE.get(np.dtype(dtype), str(np.dtype(dtype)))
    if name not in allowed:
        raise ContractError(f"{what} of type {name}: expected one of {', '.join(allowed)}; convert it first")
    return name


def _within(value: int, low: int, high: int, what: str) -> None:
    if not low <= value <= high:
        raise ContractError(f"{what}={value}: expected {low:,} to {high:,}")


def _check_counts(candidates: int, classes: int) -> None:
    _within(classes, MIN_SHORTLIST, MAX_CLASSES, "classes")
    _within(candidates, MIN_SHORTLIST, classes, "candidates")


def select_projection(
    images: int,
    classes: int,
    size: int,
    input: DTypeLike,
    candidates: DTypeLike,
    purified: DTypeLike,
    shortlist: int | None = None,
) -> Launch:
    """Launch of `select_projection`: [images, size] against [images, m, size], storage types as named.

    m is `shortlist`, or `classes` where that is None.
    """
    count = classes if shortlist is None else shortlist
    _within(images, 1, 2**31 - 1, "images")
    _check_counts(count, classes)
    _within(size, 1, MAX_PIXELS, "size")
    entry = "_".join(
        (
            "select_projection",
            _storage(input, FLOATS, "input"),
            _storage(candidates, FLOATS, "candidates"),
            _storage(purified, (*FLOATS, "u8"), "purified"),
        )
    )
    lanes = WARP
    while lanes < MAX_THREADS and lanes * 4 * CHUNK < size:  # about four loads a thread
        lanes *= 2
    teams = min(MAX_THREADS // lanes, count)
    warps = MAX_THREADS // WARP
    return Launch(entry, (images, -(-count // teams), 1), (lanes, teams, 1), 4 * (2 * warps + 1))


def preprocess(
    regions: int, pixels: str, channels: int, height: int, width: int, output: DTypeLike = np.float32
) -> Launch:
    """Launch of `preprocess`: `regions` regions of one frame of format `pixels` -> [regions, channels, height, width].

    The image is gray for one channel and RGB for three, resized as `runtime.images.as_input` does.
    """
    _within(regions, 1, MAX_REGIONS, "regions")
    _within(height, 1, MAX_OUTPUT_SIDE, "height")
    _within(width, 1, MAX_OUTPUT_SIDE, "width")
    if pixels not in FORMATS:
        raise ContractError(f"frame of format {pixels!r}: expected one of {', '.join(FORMATS)}; convert it first")
    if channels not in COLORS:
        raise ContractError(f"channels={channels}: expected one of {CHANNELS}")
    entry = f"preprocess_{pixels}_{COLORS[channels]}_{_storage(output, FLOATS, 'output')}"
    blocks = -(-height * width // (MAX_THREADS // WARP))  # a warp for each pixel, when the region is large
    return Launch(entry, (blocks, regions, 1), (MAX_THREADS, 1, 1), 0)


SELECT_PROJECTION_ENTRIES = tuple(
    f"select_projection_{i}_{c}_{o}" for i in ("f32", "f16") for c in ("f32", "f16") for o in ("f32", "f16", "u8")
)
PREPROCESS_ENTRIES = tuple(
    f"preprocess_{pixels}_{color}_{stored}" for pixels in FORMATS for color in COLORS.values() for stored in FLOATS
)
# Kernel source -> its entry points.
ENTRIES = {"select_projection": SELECT_PROJECTION_ENTRIES, "preprocess": PREPROCESS_ENTRIES}
