"""Which crops are pictures of the very sign that a training set holds: two data sets of the same drives share signs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puvae_rt.errors import ContractError
from puvae_rt.runtime.results import Floats, Ints

NEAR = 0.93  # correlation of two pictures of one sign; of the 40 scenes, no sign of another class comes nearer
_BLOCK = 2048  # training images that are turned to floats at a time
_FLAT = 1e-6


def nearest(crops: Floats, images: NDArray[np.uint8]) -> tuple[Floats, Ints]:
    """The largest correlation of each crop with any image, [N] from -1 to 1, and that image's place, [N].

    Light and contrast do not count: both are brought to mean 0 and length 1, so that a picture of the same sign a
    moment later is near, and another sign of the class, with another background and light, is not.

    Args:
        crops: float32 [N,C,H,W].
        images: uint8 [M,C,H,W], of the same shape; M may be large.
    Raises:
        ContractError: another shape, or no images.
    """
    if crops.shape[1:] != images.shape[1:] or not len(images):
        raise ContractError(f"images {images.shape}: expected [M, {', '.join(map(str, crops.shape[1:]))}], M above 0")
    wanted = _directions(crops)  # [N,D]
    best, place = np.full(len(crops), -2, np.float32), np.zeros(len(crops), np.int64)
    for start in range(0, len(images), _BLOCK):
        found = wanted @ _directions(images[start : start + _BLOCK].astype(np.float32)).T  # [N,block]
        top = found.argmax(axis=1)
        value = found[np.arange(len(crops)), top]
        better = value > best
        best, place = np.where(better, value, best), np.where(better, start + top, place)
    return best.astype(np.float32), place


def _directions(images: Floats) -> Floats:
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, _FLAT), np.float32)
