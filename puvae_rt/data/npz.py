"""Data sets in an .npz file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puvae_rt.contract import MAX_CLASSES
from puvae_rt.data.archive import Archive, open_archive
from puvae_rt.data.images import COLOR_SIDE, Images, decode, resize, to_planes
from puvae_rt.data.splits import Labels, Raw, Split
from puvae_rt.errors import DataError

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")
_KNOWN = {f"{kind}_{split}{end}" for split in SPLITS for kind, end in (("x", ""), ("x", "_jpeg"), ("x", "_offsets"))}
_KNOWN |= {f"y_{split}" for split in SPLITS} | {"class_names", "track_train"}


def read_npz(path: Path) -> Raw:
    """x_train, y_train, x_test, y_test; or JPEG bytes x_*_jpeg with x_*_offsets; optional class_names, track_train.

    Raises:
        DataError: unreadable, an array is missing or not of the documented form, or over MAX_BYTES unpacked.
    """
    with open_archive(path, "a readable .npz", "fetch or write it again") as file:
        train, test = (Split(_images(file, split), _labels(file, split)) for split in SPLITS)
        classes = _class_names(file) if "class_names" in file.names else ()
        groups = _tracks(file) if "track_train" in file.names else None
    if unread := sorted(file.names - _KNOWN):
        logger.warning("%s: not read: %s", path, ", ".join(unread[:20]))
    return Raw(train, test, classes, groups)


def _images(file: Archive, split: str) -> Images:
    what = f"{file.path}: x_{split}"
    if f"x_{split}" in file.names or f"x_{split}_jpeg" not in file.names:
        return _as_images(file.array(f"x_{split}"), what)
    data, offsets = file.array(f"x_{split}_jpeg"), file.array(f"x_{split}_offsets")
    if (
        data.dtype != np.uint8
        or (data.ndim, offsets.ndim) != (1, 1)
        or offsets.dtype.kind not in "iu"
        or len(offsets) < 2
        or not 0 <= int(offsets[0]) < int(offsets[-1]) <= len(data)
        or np.any(offsets[1:] <= offsets[:-1])
    ):
        raise DataError(f"{what}_offsets do not cut x_{split}_jpeg into files; write it again")
    pairs = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    files = (data[start:end].tobytes() for start, end in pairs)
    return to_planes(
        np.stack([resize(decode(f, f"{what}: image {i}").pixels, COLOR_SIDE) for i, f in enumerate(files)])
    )


def _as_images(array: NDArray[Any], what: str) -> Images:
    """uint8 [N,H,W] or [N,H,W,C] -> [N,C,H,W], resized to the sizes that the models take."""
    got = f"{what} is {array.dtype} {array.shape}"
    expected = "expected uint8 [N,H,W] or [N,H,W,C] of 1 or 3 channels, values 0 to 255"
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise DataError(f"{got}; {expected}")
    images = array[..., None] if array.ndim == 3 else array
    if 0 in images.shape:
        raise DataError(f"{got}, without a pixel; {expected}")
    if images.shape[-1] not in (1, 3):
        first = "; channels come last: array.transpose(0, 2, 3, 1)" if images.shape[1] in (1, 3) else ""
        raise DataError(f"{got}; {expected}{first}")
    return to_planes(images)


def _labels(file: Archive, split: str) -> Labels:
    labels = file.array(f"y_{split}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{file.path}: y_{split} is {labels.dtype} {labels.shape}; expected integer labels [N], from 0")
    if labels.size and (labels.min() < 0 or labels.max() >= MAX_CLASSES):
        raise DataError(
            f"{file.path}: y_{split} holds {labels.min()}..{labels.max()}, expected labels from 0 to "
            f"{MAX_CLASSES - 1}; leave out images of no class"
        )
    return labels.astype(np.int64)


def _class_names(file: Archive) -> tuple[str, ...]:
    names = file.array("class_names")
    if names.ndim != 1 or names.dtype.kind not in "US" or names.size > MAX_CLASSES:
        raise DataError(
            f"{file.path}: class_names is {names.dtype} {names.shape}; expected up to {MAX_CLASSES} texts [K]"
        )
    return tuple(str(n, "utf-8") if isinstance(n, bytes) else str(n) for n in names.tolist())


def _tracks(file: Archive) -> NDArray[np.int64]:
    tracks = file.array("track_train")
    if tracks.ndim != 1 or tracks.dtype.kind not in "iu":
        raise DataError(f"{file.path}: track_train is {tracks.dtype} {tracks.shape}; expected integers [N]")
    return tracks.astype(np.int64)
