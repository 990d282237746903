"""NumPy twins of the kernels: what they must compute, in the plainest way, in float64."""

from __future__ import annotations

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
