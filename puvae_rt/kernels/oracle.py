"""NumPy twins of the kernels: what they must compute, in the plainest way, in float64 or exact integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from puvae_rt.kernels.launch import FLAG_NO_CANDIDATE, FLAG_SOME_NAN


@dataclass(frozen=True)
class Selection:
    """What `select_projection` writes."""

    purified: NDArray[Any]  # [N, D]
    index: NDArray[np.int64]  # [N], -1 when every score is NaN
    rmse: NDArray[np.float64]  # [N, K]
    score: NDArray[np.float64]  # [N, K]
    flags: NDArray[np.int32]  # [N]


def select_projection(
    input: NDArray[np.floating[Any]],
    candidates: NDArray[np.floating[Any]],
    tau: float = 0.0,
    bias: NDArray[np.floating[Any]] | None = None,
    dtype: DTypeLike = np.float32,
) -> Selection:
    """input [N,D], candidates [N,K,D], bias [N,K] -> the candidate of lowest score for each image."""
    difference = np.abs(input[:, None, :].astype(np.float64) - candidates.astype(np.float64))  # [N, K, D]
    rmse = np.sqrt(np.mean(difference**2, axis=2))
    score = np.sum(np.maximum(difference - np.float32(tau), 0.0) ** 2, axis=2)  # np.maximum keeps a NaN
    if bias is not None:
        score = score + bias
    return Selection(*_select(candidates, score, dtype), rmse, score, _flags(score))


def _select(
    candidates: NDArray[np.floating[Any]], score: NDArray[np.float64], dtype: DTypeLike
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    nan = np.isnan(score)
    # A NaN sorts after an infinity, which is a score like another; argmin takes the lowest index of equals.
    order = np.lexsort((np.where(nan, 0.0, score), nan), axis=1)
    index = np.where(nan.all(axis=1), -1, order[:, 0]).astype(np.int64)
    winners = candidates[np.arange(len(index)), np.maximum(index, 0)].astype(np.float32)  # [N, D]
    return to_storage(np.where(index[:, None] < 0, np.float32(np.nan), winners), dtype), index


def _flags(score: NDArray[np.float64]) -> NDArray[np.int32]:
    nan = np.isnan(score)
    flags = np.where(nan.all(axis=1), FLAG_NO_CANDIDATE, 0) | np.where(nan.any(axis=1), FLAG_SOME_NAN, 0)
    return np.asarray(flags, np.int32)


def to_storage(values: NDArray[np.float32], dtype: DTypeLike) -> NDArray[Any]:
    """Values in [0,1] in the kernels' storage type; uint8 rounds, saturates and has 0 for NaN."""
    if np.dtype(dtype) != np.uint8:
        return values.astype(dtype)
    levels = np.clip(np.nan_to_num(values, nan=0.0), 0.0, 1.0) * np.float32(255)
    return np.asarray(np.rint(levels), np.uint8)


def preprocess(
    frame: NDArray[np.uint8],
    regions: Sequence[Sequence[int]],
    pixels: str,
    channels: int,
    height: int,
    width: int,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Regions (x, y, width, height) of a frame -> [R, channels, height, width] in [0,1].

    Args:
        frame: uint8 [H,W,3] or [H,W]; NV12 as OpenCV has it, [H * 3 / 2, W], luma above chroma.
        regions: what sticks out of the frame sees its border repeated.
        pixels: the frame's format, one of `launch.FORMATS`.
        channels: 1 for gray, 3 for RGB.
        height: of the images.
        width: of the images.
        dtype: float32 or float16.
    """
    samples = _READERS[pixels](frame)  # [H, W, 3] RGB or [H, W, 1]
    levels = np.stack([_resize(_region(samples, r), height, width) for r in regions])  # [R, height, width, 3 or 1]
    colored = _gray(levels) if channels == 1 else np.broadcast_to(levels, (*levels.shape[:3], 3))
    return (colored.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)).astype(dtype)


def split_phases(image: NDArray[Any]) -> NDArray[Any]:
    """[R,C,H,W] -> [R*4,C,H/2,W/2]: `puvae.split_phases` without PyTorch."""
    r, c, h, w = image.shape
    return image.reshape(r, c, h // 2, 2, w // 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(4 * r, c, h // 2, w // 2)


def rgb_of_nv12(frame: NDArray[np.uint8]) -> NDArray[np.int64]:
    """NV12 [H * 3 / 2, W] -> [H,W,3]: BT.601, limited range, nearest chroma (cvtColor's COLOR_YUV2RGB_NV12)."""
    height = frame.shape[0] * 2 // 3
    luma = np.maximum(frame[:height].astype(np.int64) - 16, 0)
    chroma = frame[height:].reshape(height // 2, -1, 2).astype(np.int64) - 128
    u, v = chroma.repeat(2, axis=0).repeat(2, axis=1).transpose(2, 0, 1)
    one = 1 << 20  # fixed point
    y = luma * int(1.164 * one) + one // 2
    red, green, blue = (int(c * one) for c in (1.596, 0.813, 2.018))
    rgb = (y + red * v, y - green * v - int(0.391 * one) * u, y + blue * u)
    return np.asarray(np.clip(np.stack(rgb, axis=2) >> 20, 0, 255))


_READERS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.int64]]] = {
    "nv12": rgb_of_nv12,
    "bgr8": lambda frame: frame[..., ::-1].astype(np.int64),
    "rgb8": lambda frame: frame.astype(np.int64),
    "gray8": lambda frame: frame[..., None].astype(np.int64),
}


def _region(samples: NDArray[np.int64], region: Sequence[int]) -> NDArray[np.int64]:
    x, y, w, h = region
    rows = np.clip(np.arange(y, y + h), 0, samples.shape[0] - 1)
    columns = np.clip(np.arange(x, x + w), 0, samples.shape[1] - 1)
    return np.asarray(samples[rows][:, columns])


def _resize(samples: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """[h,w,c] -> [height,width,c], rounded half up."""
    h, w, _ = samples.shape
    weights = _area_weights if h >= height and w >= width else _linear_weights
    rows, columns = weights(h, height), weights(w, width)
    total = rows[0].sum() * columns[0].sum()
    # In float64, whose products BLAS adds up: exact, these integers are far below 2^53.
    sums = np.tensordot(rows.astype(float), samples.astype(float), (1, 0))  # [height, w, c]
    sums = np.tensordot(sums, columns.astype(float), (1, 1)).swapaxes(1, 2)  # [height, width, c]
    return np.asarray((sums.astype(np.int64) + total // 2) // total, np.int64)


def _area_weights(source: int, to: int) -> NDArray[np.int64]:
    """[to, source]: how much of each sample each pixel covers; every row sums to `source`."""
    pixel, sample = np.arange(to)[:, None] * source, np.arange(source)[None] * to
    return np.asarray(np.maximum(np.minimum(pixel + source, sample + to) - np.maximum(pixel, sample), 0))


def _linear_weights(source: int, to: int) -> NDArray[np.int64]:
    """[to, source]: a hat of one sample's width round each pixel's middle; every row sums to 2 * `to`."""
    unit = 2 * to
    middle = np.clip((2 * np.arange(to)[:, None] + 1) * source - to, 0, (source - 1) * unit)
    return np.asarray(np.maximum(unit - np.abs(middle - np.arange(source)[None] * unit), 0))


def _gray(rgb: NDArray[np.int64]) -> NDArray[np.int64]:
    """.299, .587, .114 in units of 2^-15 (cvtColor's COLOR_RGB2GRAY); one channel stays as it is."""
    if rgb.shape[-1] == 1:
        return rgb
    return np.asarray(rgb @ np.array([9798, 19235, 3735]) + (1 << 14))[..., None] >> 15
