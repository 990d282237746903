"""NumPy twins of the kernels: what they must compute, in the plainest way, in float64 or exact integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from puvae_rt.kernels.launch import FLAG_LEFT_OUT, FLAG_NO_CANDIDATE, FLAG_SOME_NAN


@dataclass(frozen=True)
class Selection:
    """What `select_projection` writes."""

    purified: NDArray[Any]  # [N, D]
    index: NDArray[np.int64]  # [N], the class chosen; -1 when no score is a number
    rmse: NDArray[np.float64]  # [N, K], NaN for a class without a candidate
    score: NDArray[np.float64]  # [N, K], infinite for a class without a candidate
    flags: NDArray[np.int32]  # [N]


def select_projection(
    input: NDArray[np.floating[Any]],
    candidates: NDArray[np.floating[Any]],
    tau: float = 0.0,
    bias: NDArray[np.floating[Any]] | None = None,
    dtype: DTypeLike = np.float32,
    classes: NDArray[np.integer[Any]] | None = None,
    class_count: int | None = None,
) -> Selection:
    """The candidate of lowest score for each image.

    Args:
        input: [N,D].
        candidates: [N,m,D].
        tau: the dead zone.
        bias: [N,m], added to the scores.
        dtype: of `purified`.
        classes: [N,m], the class of each candidate; None: of all m = K, in order. One that is none of the K, or stands
            before in the same row, leaves its candidate out.
        class_count: K; None is m.
    """
    n, m, _ = candidates.shape
    listed = np.broadcast_to(np.arange(m), (n, m)) if classes is None else classes
    difference = np.abs(input[:, None, :].astype(np.float64) - candidates.astype(np.float64))  # [N, m, D]
    own_rmse = np.sqrt(np.mean(difference**2, axis=2))
    own_score = np.sum(np.maximum(difference - np.float32(tau), 0.0) ** 2, axis=2)  # np.maximum keeps a NaN
    if bias is not None:
        own_score = own_score + bias
    places = _places(listed, m if class_count is None else class_count)  # [N, K]
    decoded = places >= 0
    rmse = np.where(decoded, np.take_along_axis(own_rmse, np.maximum(places, 0), axis=1), np.nan)
    score = np.where(decoded, np.take_along_axis(own_score, np.maximum(places, 0), axis=1), np.inf)
    index = _chosen(score, decoded)
    place = np.take_along_axis(places, np.maximum(index, 0)[:, None], axis=1)[:, 0]
    winners = candidates[np.arange(n), np.maximum(place, 0)].astype(np.float32)  # [N, D]
    purified = to_storage(np.where(index[:, None] < 0, np.float32(np.nan), winners), dtype)
    return Selection(purified, index, rmse, score, _flags(index, score, decoded.sum(axis=1) < m))


def _places(listed: NDArray[np.integer[Any]], class_count: int) -> NDArray[np.int64]:
    """[N,m] classes -> [N,K], which candidate is the first of each class; -1 for none."""
    same = listed[:, :, None] == np.arange(class_count)  # [N, m, K]
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def _chosen(score: NDArray[np.float64], decoded: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[N] the class of lowest score: an infinity is a score like another; argmin takes the lowest class of equals."""
    out = np.isnan(score) | ~decoded
    order = np.lexsort((np.where(out, 0.0, score), out), axis=1)
    return np.where(out.all(axis=1), -1, order[:, 0]).astype(np.int64)


def _flags(index: NDArray[np.int64], score: NDArray[np.float64], left_out: NDArray[np.bool_]) -> NDArray[np.int32]:
    some_nan = np.isnan(score).any(axis=1)
    flags = FLAG_NO_CANDIDATE * (index < 0) | FLAG_SOME_NAN * some_nan | FLAG_LEFT_OUT * left_out
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
