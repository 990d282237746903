"""Test images with labels and stored attacks (samples.npz): what an engine's quality is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from puvae_rt.contract import ImageContract
from puvae_rt.data.archive import open_archive
from puvae_rt.errors import DataError
from puvae_rt.files import sha256_of

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

CLEAN = "clean"
ATTACKED = "attacked_"  # array names: images, labels, attacked_<attack>
MAX_BYTES = 1 << 30
_REMEDY = "give the samples.npz that `puvae pack` wrote"


@dataclass(frozen=True)
class Samples:
    """uint8 images [N,C,H,W] by set ("clean", then each stored attack on them), and their labels [N]."""

    sets: Mapping[str, Bytes]
    labels: Labels
    sha256: str = ""  # of the file, or of the arrays where there is none

    def head(self, count: int) -> Samples:
        """The first `count` images of every set."""
        return Samples({name: images[:count] for name, images in self.sets.items()}, self.labels[:count], self.sha256)

    def __len__(self) -> int:
        return len(self.labels)


def save_samples(path: Path, samples: Samples) -> None:
    """Write a samples.npz."""
    attacked = {f"{ATTACKED}{name}": images for name, images in samples.sets.items() if name != CLEAN}
    arrays = {"images": samples.sets[CLEAN], "labels": samples.labels, **attacked}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load_samples(path: Path, contract: ImageContract, classes: int) -> Samples:
    """The images in a samples.npz; DataError when it is absent, damaged, or holds other images than the model takes."""
    with open_archive(path, "readable as test images", _REMEDY, limit=MAX_BYTES) as file:
        names = [name for name in file.names if name.startswith(ATTACKED)]
        if others := sorted(file.names - {"images", "labels", *names}):
            raise DataError(f"{path}: holds {others[0]}, expected images, labels and {ATTACKED}...; {_REMEDY}")
        images, labels = file.array("images"), file.array("labels")
        sets = {CLEAN: images} | {name.removeprefix(ATTACKED): file.array(name) for name in sorted(names)}
    expected = f"uint8 [N,{','.join(map(str, contract.shape))}] with N = {len(labels)} labels"
    for name, array in sets.items():
        if array.dtype != np.uint8 or array.shape != (len(labels), *contract.shape) or not len(labels):
            raise DataError(f"{path}: {name} is {array.dtype} {array.shape}, expected {expected}; {_REMEDY}")
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"{path}: labels {labels.dtype} {labels.shape}, expected classes from 0 to {classes - 1}")
    return Samples(sets, labels.astype(np.int64), sha256_of(path))
