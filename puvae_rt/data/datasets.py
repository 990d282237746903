"""Data sets by name: read from a file, a folder or the download, checked, cut into three splits.

Where the images come from, in this order: `data` (a .npz file, a folder holding NAME.npz, or a folder tree
train|test/CLASS/*), the folder in the environment variable PUVAE_DATA, the checksummed download.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from puvae_rt.contract import NAME_RULE, ImageContract, is_name
from puvae_rt.data.checks import check
from puvae_rt.data.folder import read_tree
from puvae_rt.data.known import KNOWN
from puvae_rt.data.npz import read_npz
from puvae_rt.data.splits import Raw, Split, is_by_class, shuffled, validation_split
from puvae_rt.errors import DataError

DATA_VARIABLE = "PUVAE_DATA"


@dataclass(frozen=True)
class Dataset:
    """Disjoint splits; validation comes out of the training images."""

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def contract(self) -> ImageContract:
        """Shape of its images."""
        return ImageContract(*self.train.images.shape[1:])


def load_dataset(name: str, data: Path | None = None) -> Dataset:
    """The data set `name`, or your own images at `data` under that name.

    Your own: an .npz with x_train, y_train, x_test, y_test (uint8 [N,H,W] or [N,H,W,C], C in {1,3}; labels
    0..K-1) or a folder tree with train/ and test/, in each a folder for every class, of image files without
    transparency. Other sizes are resized to 28x28 (gray) or 32x32 (color, RGB).

    Your own images are put into one seeded order, so that the first N of a split are a sample of all its classes. The
    named data sets keep the order of their files, to which measured results belong, unless it is by class.

    Args:
        name: one of KNOWN, or any other with `data`; part of file names.
        data: an .npz file, a folder of them, or a folder tree; None is PUVAE_DATA, else the download.
    Raises:
        DataError: a name that no file can have, nothing found, a file that is damaged or not of that form, fewer than
            two classes, too few images, a split whose images are all alike.
    """
    if not is_name(name):
        raise DataError(f"data set {name[:80]!a}: expected {NAME_RULE} (--dataset)")
    raw, keeps_order = _read(name, None if data is None else Path(data))
    check(name, raw)
    kept, held_out = validation_split(raw, KNOWN[name].validation if name in KNOWN else None)
    if not len(kept) or not len(held_out):
        why = "no track can be spared" if raw.groups is not None else "no image of its class can be spared"
        raise DataError(f"{name}: {len(raw.train)} training images, of which {why} for validation; add images")
    classes = raw.classes or (KNOWN[name].classes if name in KNOWN else ())
    count = int(raw.train.labels.max()) + 1
    splits = (raw.train.take(kept), raw.train.take(held_out), raw.test)
    return Dataset(
        name,
        classes or tuple(str(i) for i in range(count)),
        *(split if keeps_order and not is_by_class(split) else shuffled(split) for split in splits),
    )


def _read(name: str, data: Path | None) -> tuple[Raw, bool]:
    """The images, and whether they are in the order of a named data set's file."""
    known = KNOWN.get(name)
    folder = os.environ.get(DATA_VARIABLE)
    path = data or (Path(folder) if folder and known else None)
    if path is None:
        if known is None:
            raise DataError(f"data set {name!r}: not one of {', '.join(KNOWN)}; give your own images with --data PATH")
        from puvae_rt.data.download import download

        return read_npz(download(name)), True
    if path.is_dir() and known and (path / known.file).exists():
        return read_npz(path / known.file), True
    if path.is_dir() and (path / "train").is_dir():
        return read_tree(path), False
    if path.is_file() and path.suffix.lower() == ".npz":
        return read_npz(path), known is not None and path.name == known.file
    wanted = f"{known.file}, or " if known else ""
    if not path.exists():
        where = "--data" if data else DATA_VARIABLE
        named = f"; for the data set of that name give --dataset {path}, without --data" if str(path) in KNOWN else ""
        raise DataError(
            f"{path}: no such file or folder ({where}); expected an .npz file, or a folder with {wanted}train/ and "
            f"test/ in it{named}"
        )
    raise DataError(f"{path}: expected an .npz file, or a folder with {wanted}train/ and test/ in it (--data)")
