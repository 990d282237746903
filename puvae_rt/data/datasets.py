"""Datasets: MNIST, Fashion-MNIST, CIFAR-10, traffic signs (GTSRB), or your own.

Where the images come from, in this order: `data` (a .npz file, a folder holding NAME.npz, or a folder tree
split/class/*.png|jpg), the folder in the environment variable PUVAE_DATA, the checksummed download.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.contract import MAX_CLASSES, ImageContract
from puvae_rt.errors import DataError

DATA_VARIABLE = "PUVAE_DATA"
SPLIT_SEED = 20190301  # one split for every training, so that two models never see each other's validation images
GRAY_SIDE, COLOUR_SIDE = 28, 32
MAX_BYTES = 4 << 30  # of decoded images
MAX_FILE_BYTES = 64 << 20  # of one image file of a folder tree
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

Images = NDArray[np.uint8]  # [N,C,H,W]
Labels = NDArray[np.int64]  # [N]
DIGITS = tuple(str(i) for i in range(10))
GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIGNS = (
    "speed limit 20",
    "speed limit 30",
    "speed limit 50",
    "speed limit 60",
    "speed limit 70",
    "speed limit 80",
    "end of speed limit 80",
    "speed limit 100",
    "speed limit 120",
    "no overtaking",
    "no overtaking by trucks",
    "priority at next intersection",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no trucks",
    "no entry",
    "danger",
    "bend left",
    "bend right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows",
    "construction",
    "traffic signal",
    "pedestrian crossing",
    "school crossing",
    "cycles crossing",
    "snow",
    "animals",
    "end of restrictions",
    "go right",
    "go left",
    "go straight",
    "go right or straight",
    "go left or straight",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by trucks",
)


@dataclass(frozen=True)
class Known:
    """A named dataset: its file in a data folder, how much of `train` validates, its classes."""

    file: str
    validation: int  # images; of GTSRB about as many, in whole tracks
    classes: tuple[str, ...]
    any_light: bool = False  # some pictures very dark: models normalise contrast, classifiers see augmented images


KNOWN = {
    "mnist": Known("mnist.npz", 10_000, DIGITS),
    "fashion_mnist": Known("fashion_mnist.npz", 10_000, GARMENTS),
    "cifar10": Known("cifar10.npz", 5_000, OBJECTS),
    "traffic_signs": Known("gtsrb.npz", 3_900, SIGNS, any_light=True),
}
OWN_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Split:
    """uint8 images [N,C,H,W] and int64 labels [N]."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: slice | NDArray[np.int64]) -> tuple[NDArray[np.float32], Labels]:
        """Images as float32 in [0, 1], and labels."""
        return np.divide(self.images[index], 255, dtype=np.float32), self.labels[index]

    def head(self, count: int) -> Split:
        return Split(self.images[:count], self.labels[:count])


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
        return ImageContract(*self.train.images.shape[1:])


@dataclass(frozen=True)
class Raw:
    """What a reader gives: both splits, class names, and the physical object of each training image if known."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    groups: NDArray[np.int64] | None = None


def load_dataset(name: str, data: Path | None = None) -> Dataset:
    """The dataset `name`, or your own images at `data` under that name.

    Your own: an .npz with x_train, y_train, x_test, y_test (uint8 [N,H,W] or [N,H,W,C], C in {1,3}; labels
    0..K-1) or a folder tree with train/ and test/, one folder for each class. Other sizes are resized to
    28x28 (gray) or 32x32 (colour, RGB).

    Raises:
        DataError: nothing found, a file that is damaged or not of that form, fewer than two classes.
    """
    raw = _read(name, data)
    _check(name, raw)
    kept, held_out = _validation_split(raw, KNOWN[name].validation if name in KNOWN else None)
    classes = raw.classes or (KNOWN[name].classes if name in KNOWN else ())
    count = int(max(raw.train.labels.max(), raw.test.labels.max())) + 1
    return Dataset(
        name,
        classes or tuple(str(i) for i in range(count)),
        Split(raw.train.images[kept], raw.train.labels[kept]),
        Split(raw.train.images[held_out], raw.train.labels[held_out]),
        raw.test,
    )


def _read(name: str, data: Path | None) -> Raw:
    known = KNOWN.get(name)
    folder = os.environ.get(DATA_VARIABLE)
    path = data or (Path(folder) if folder and known else None)
    if path is None:
        if known is None:
            raise DataError(f"dataset {name!r}: not one of {', '.join(KNOWN)}; give your own images with --data PATH")
        from puvae_rt.data.download import download

        return read_npz(download(name))
    if path.is_dir() and known and (path / known.file).is_file():
        return read_npz(path / known.file)
    if path.is_dir() and (path / "train").is_dir():
        return read_tree(path)
    if path.is_file() and path.suffix == ".npz":
        return read_npz(path)
    wanted = f"{known.file}, " if known else ""
    raise DataError(f"{path}: expected an .npz file, or a folder with {wanted}or with train/ and test/ in it")


def read_npz(path: Path) -> Raw:
    """x_train, y_train, x_test, y_test; or JPEG bytes x_*_jpeg with x_*_offsets; optional class_names, track_train."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
            train, test = (Split(_npz_images(file, s, path), _npz_labels(file, s, path)) for s in ("train", "test"))
            classes = tuple(str(c) for c in file["class_names"]) if "class_names" in names else ()
            groups = file["track_train"].astype(np.int64) if "track_train" in names else None
    except DataError:
        raise
    except Exception as error:  # zip, zlib, LZMA and header errors share no base class
        raise DataError(f"{path}: not a readable .npz ({error}); fetch or write it again") from error
    return Raw(train, test, classes, groups)


def _npz_images(file: np.lib.npyio.NpzFile, split: str, path: Path) -> Images:
    if f"x_{split}" in file.files:
        return _as_images(file[f"x_{split}"], f"{path}: x_{split}")
    if f"x_{split}_jpeg" not in file.files:
        raise DataError(f"{path}: x_{split} is missing; it holds {', '.join(sorted(file.files)) or 'nothing'}")
    data, offsets = file[f"x_{split}_jpeg"], file[f"x_{split}_offsets"]
    if data.dtype != np.uint8 or np.any(np.diff(offsets) <= 0) or offsets[-1] > len(data):
        raise DataError(f"{path}: x_{split}_offsets do not cut x_{split}_jpeg into files; write it again")
    decoded = [_decode(data[a:b], f"{path}: image {i}") for i, (a, b) in enumerate(_pairs(offsets))]
    return _as_images(np.stack(decoded), f"{path}: x_{split}")


def _pairs(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    return zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)


def _npz_labels(file: np.lib.npyio.NpzFile, split: str, path: Path) -> Labels:
    if f"y_{split}" not in file.files:
        raise DataError(f"{path}: y_{split} is missing; expected integer labels [N]")
    labels = file[f"y_{split}"]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: y_{split} is {labels.dtype} {labels.shape}; expected integer labels [N]")
    return labels.astype(np.int64)


def _as_images(array: NDArray[np.generic], what: str) -> Images:
    """uint8 [N,H,W] or [N,H,W,C] -> [N,C,H,W], resized to the sizes that the models take."""
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise DataError(f"{what} is {array.dtype} {array.shape}; expected uint8 [N,H,W] or [N,H,W,C]")
    images = array[..., None] if array.ndim == 3 else array
    if images.shape[-1] not in (1, 3) or 0 in images.shape or images.nbytes > MAX_BYTES:
        raise DataError(f"{what} has shape {array.shape}; expected 1 or 3 channels, no empty axis, at most 4 GB")
    side = GRAY_SIDE if images.shape[-1] == 1 else COLOUR_SIDE
    if images.shape[1:3] != (side, side):
        images = np.stack([_resize(image, side) for image in images])
    return np.ascontiguousarray(images.astype(np.uint8, copy=False).transpose(0, 3, 1, 2))


def _resize(image: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    shrinking = min(image.shape[:2]) >= side
    resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return np.asarray(resized).reshape(side, side, -1)


def _decode(data: NDArray[np.uint8], what: str) -> Images:
    """An encoded colour image -> RGB [H,W,3]."""
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{what}: not a readable image; remove or replace it")
    return np.asarray(image[:, :, ::-1], dtype=np.uint8)


def read_tree(root: Path) -> Raw:
    """root/{train,test}/CLASS/*.png|jpg; classes in the order of their names. Gray if every image is gray."""
    classes = tuple(sorted(p.name for p in (root / "train").iterdir() if p.is_dir()))
    splits = {split: _read_folder(root / split, classes) for split in ("train", "test")}
    gray = all(np.ptp(image, axis=2).max() == 0 for images, _ in splits.values() for image in images)
    side = GRAY_SIDE if gray else COLOUR_SIDE

    def stack(images: list[Images], labels: list[int]) -> Split:
        resized = np.stack([_resize(i[..., :1] if gray else i, side) for i in images])
        return Split(_as_images(resized, str(root)), np.array(labels, dtype=np.int64))

    return Raw(stack(*splits["train"]), stack(*splits["test"]), classes)


def _read_folder(folder: Path, classes: tuple[str, ...]) -> tuple[list[Images], list[int]]:
    images, labels, total = [], [], 0
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("*")):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DataError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MB; shrink it")
            image = _decode(np.fromfile(path, dtype=np.uint8), str(path))
            total += image.nbytes
            if total > MAX_BYTES:
                raise DataError(f"{folder}: images decode to over {MAX_BYTES >> 30} GB; shrink them first")
            images.append(image)
            labels.append(label)
    if not images:
        raise DataError(f"{folder}: no {'/'.join(IMAGE_SUFFIXES)} in class folders; expected CLASS/*.png or *.jpg")
    return images, labels


def _check(name: str, raw: Raw) -> None:
    for split_name, split in (("train", raw.train), ("test", raw.test)):
        if len(split.images) != len(split.labels):
            raise DataError(f"{name}: {len(split.images)} {split_name} images but {len(split.labels)} labels")
    labels = np.unique(raw.train.labels)
    count = len(labels)
    if not 2 <= count <= MAX_CLASSES:
        raise DataError(f"{name}: {count} classes in the training labels; expected 2 to {MAX_CLASSES}")
    if labels[0] != 0 or labels[-1] != count - 1:
        raise DataError(
            f"{name}: training labels {labels[0]}..{labels[-1]} of {count} classes; expected 0..{count - 1}"
        )
    if raw.test.labels.min() < 0 or raw.test.labels.max() >= count:
        raise DataError(f"{name}: a test label lies outside 0..{count - 1}; every class needs training images")
    if raw.classes and len(raw.classes) != count:
        raise DataError(f"{name}: {len(raw.classes)} class names for {count} classes")
    if raw.groups is not None and len(raw.groups) != len(raw.train):
        raise DataError(f"{name}: track_train has {len(raw.groups)} entries for {len(raw.train)} training images")
    if raw.train.images.shape[1:] != raw.test.images.shape[1:]:
        raise DataError(f"{name}: train images {raw.train.images.shape[1:]}, test {raw.test.images.shape[1:]}")


def _validation_split(raw: Raw, wanted: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices kept for training and held out; images of one group (a track of one sign) stay together."""
    n = len(raw.train)
    count = min(wanted, n // 2) if wanted is not None else max(1, round(OWN_VALIDATION_SHARE * n))
    groups = raw.groups if raw.groups is not None else np.arange(n)
    members, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(members))
    chosen = order[: int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1]
    held = np.isin(groups, members[chosen])
    return np.flatnonzero(~held), np.flatnonzero(held)
