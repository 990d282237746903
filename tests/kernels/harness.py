"""Runs the kernels on the host shim with NumPy arrays in and out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from puvae_rt.kernels import PreprocessArgs, SelectProjectionArgs, preprocess, select_projection, shim
from puvae_rt.kernels.oracle import Selection


def examples(count: int) -> int:
    """Hypothesis examples of a test that launches kernels: fewer under the sanitisers, which are ten times slower."""
    return max(count // 8, 3) if os.environ.get(shim.SANITIZE_VARIABLE) == "1" else count


def placed(array: np.ndarray, offset: int = 0) -> np.ndarray:
    """A copy that starts `offset` bytes past a 16-byte boundary and ends where its allocation ends."""
    buffer = np.empty(array.nbytes + offset, np.uint8)
    view = buffer[offset:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def empty(shape: tuple[int, ...], dtype: type, offset: int = 0) -> np.ndarray:
    """An output that no kernel leaves as it was unnoticed: every byte is 0xA5."""
    view = placed(np.zeros(shape, dtype), offset)
    view.view(np.uint8)[...] = 0xA5
    return view


def address(array: np.ndarray | None) -> int:
    return 0 if array is None else array.ctypes.data


def run_select(
    input: np.ndarray,
    candidates: np.ndarray,
    tau: float = 0.0,
    bias: np.ndarray | None = None,
    dtype: type = np.float32,
    seed: int = 0,
    misaligned: bool = False,
    arrivals: np.ndarray | None = None,
    classes: np.ndarray | None = None,
    class_count: int | None = None,
) -> Selection:
    """`oracle.select_projection`, on the kernel. `misaligned` moves every image by one element off 16 bytes."""
    (n, m, d), item = candidates.shape, np.dtype(dtype).itemsize
    k = m if class_count is None else class_count
    listed = None if classes is None else placed(classes)
    x = placed(input, input.itemsize * misaligned)
    c = placed(candidates, candidates.itemsize * misaligned)
    purified = empty((n, d), dtype, item * misaligned)
    index, flags = empty((n,), np.int64), empty((n,), np.int32)
    rmse, score = empty((n, k), np.float32), empty((n, k), np.float32)
    arrivals = np.zeros(n, np.uint32) if arrivals is None else arrivals
    arrays = (x, c, bias, listed, purified, index, rmse, score, flags, arrivals)
    ax, ac, ab, al, *written = (address(a) for a in arrays)
    launch = select_projection(n, k, d, input.dtype, candidates.dtype, dtype, shortlist=m)
    shim.load().run(launch, SelectProjectionArgs(ax, ac, ab, tau, *written, k, d, al, m).values(), seed)
    assert not arrivals.any(), "the counters must be back at 0 for the next launch"
    return Selection(purified, index, rmse, score, flags)


class Images(NamedTuple):
    """What `preprocess` writes."""

    image: np.ndarray  # [R, C, H, W]
    phases: np.ndarray | None  # [R * 4, C, H/2, W/2]


def run_preprocess(
    frame: np.ndarray,
    regions: Sequence[Sequence[int]],
    pixels: str,
    channels: int,
    height: int,
    width: int,
    dtype: type = np.float32,
    padding: int = 0,
    seed: int = 0,
    split: bool = False,
) -> Images:
    """`oracle.preprocess` on the kernel; rows of the frame are `padding` bytes further apart than they need to be.

    The last row has no padding and the frame ends where its allocation ends, so that a byte too far is caught.
    """
    rows = len(frame) * 2 // 3 if pixels == "nv12" else len(frame)
    planes = [pitched(plane, padding) for plane in (frame[:rows], frame[rows:])]
    image = empty((len(regions), channels, height, width), dtype)
    phases = empty((4 * len(regions), channels, height // 2, width // 2), dtype) if split else None
    corners = np.array(regions, np.int32)
    pitch = frame[0].nbytes + padding
    addresses = (address(a) for a in (corners, image, phases))
    arguments = PreprocessArgs(
        *(address(p) for p in planes), pitch, pitch, frame.shape[1], rows, *addresses, height, width
    )
    launch = preprocess(len(regions), pixels, channels, height, width, dtype)
    shim.load().run(launch, arguments.values(), seed)
    return Images(image, phases)


def pitched(plane: np.ndarray, padding: int) -> np.ndarray | None:
    """The plane's bytes with `padding` between rows, at an odd address; None for a plane without rows."""
    if not len(plane):
        return None
    row = plane[0].nbytes
    padded = np.full((len(plane), row + padding), 0xA5, np.uint8)
    padded[:, :row] = plane.reshape(len(plane), row)
    return placed(padded.reshape(-1)[: padded.size - padding], offset=1)
