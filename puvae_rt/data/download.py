"""Downloads of the named data sets over https, checked and converted once to the .npz form that `puvae_rt.data` reads.

Every file is held to its sha256. Those of MNIST and CIFAR-10 are published by TensorFlow Datasets; those of Fashion-
MNIST were computed from files of the published MD5, and belong to its authors' Git repository at the commit below.
GTSRB's publishers give MD5 sums only, and no sha256 could be checked against them: its archives are held to these.
"""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pooch
from numpy.typing import NDArray

from puvae_rt.data.images import decode
from puvae_rt.errors import DataError
from puvae_rt.files import atomic_file
from puvae_rt.user_cache import VARIABLE, cache_folder

Arrays = dict[str, NDArray[Any]]
TIMEOUT_SECONDS = 60

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
GTSRB_CLASSES = 43
GTSRB_SIDE = 32


class Source(NamedTuple):
    """Where a data set is published, its files with their checksums ("algorithm:digits"), and how they are read."""

    base: str
    files: dict[str, str]
    convert: Callable[[list[Path]], Arrays]


def download(name: str) -> Path:
    """Path of the dataset as .npz in the user's cache; fetched and converted the first time.

    Raises:
        DataError: no network, no cache, or a file whose checksum differs from the published one.
    """
    cache = cache_folder("data")
    if cache is None:
        raise DataError(
            f"{name}: no place to keep the download; set {VARIABLE} to a writable folder, or give the images with "
            "--data PATH"
        )
    target = cache / f"{name}.npz"
    if target.is_file():
        return target
    source = SOURCES[name]
    fetcher = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_SECONDS)
    try:
        files = [
            Path(pooch.retrieve(source.base + file, known, fname=f"{name}-{file}", path=cache, downloader=fetcher))
            for file, known in source.files.items()
        ]
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        raise DataError(f"{name}: download failed ({error}); try again, or give the images with --data PATH") from error
    with atomic_file(target) as part:
        np.savez_compressed(part, **source.convert(files))  # type: ignore[arg-type]
    return target


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of bytes: magic 0x08 and the number of axes, big-endian sizes, data."""
    data = gzip.decompress(path.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, dtype=">u4", count=axes, offset=4)
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def _convert_idx(files: list[Path]) -> Arrays:
    return dict(zip(("x_train", "y_train", "x_test", "y_test"), map(_read_idx, files), strict=True))


def _convert_cifar(files: list[Path]) -> Arrays:
    """Records of 1 label byte and 3x32x32 pixel bytes (the binary version: the other one is a pickle)."""
    with tarfile.open(files[0]) as archive:

        def records(name: str) -> NDArray[np.uint8]:
            member = archive.extractfile(f"cifar-10-batches-bin/{name}.bin")
            if member is None:
                raise DataError(f"{files[0]}: {name}.bin is missing; delete the file and try again")
            return np.frombuffer(member.read(), dtype=np.uint8).reshape(-1, 3073)

        splits = {
            "train": np.concatenate([records(f"data_batch_{i}") for i in range(1, 6)]),
            "test": records("test_batch"),
        }
    arrays = {}
    for split, rows in splits.items():
        arrays[f"x_{split}"] = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays[f"y_{split}"] = rows[:, 0]
    return arrays


def _convert_gtsrb(files: list[Path]) -> Arrays:
    """Whole frames resized to 32x32, bilinear; `track_train` numbers the physical sign."""
    with zipfile.ZipFile(files[0]) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".ppm"))
        x_train = np.stack([_read_sign(archive, name) for name in names])
        labels = np.array([int(n.split("/")[-2]) for n in names])
        tracks = np.array([int(n.split("/")[-1].split("_")[0]) for n in names])
    with zipfile.ZipFile(files[1]) as archive:
        x_test = np.stack([_read_sign(archive, n) for n in sorted(archive.namelist()) if n.endswith(".ppm")])
    with zipfile.ZipFile(files[2]) as archive, archive.open("GT-final_test.csv") as table:
        rows = sorted(csv.DictReader(io.TextIOWrapper(table), delimiter=";"), key=lambda row: row["Filename"])
    y_test = np.array([int(row["ClassId"]) for row in rows])
    return {
        "x_train": x_train,
        "y_train": labels.astype(np.uint8),
        "x_test": x_test,
        "y_test": y_test.astype(np.uint8),
        "track_train": (labels * 1000 + tracks).astype(np.int32),
    }


def _read_sign(archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    pixels = decode(archive.read(name), f"{archive.filename}: {name}").pixels
    return np.asarray(cv2.resize(pixels, (GTSRB_SIDE, GTSRB_SIDE)), dtype=np.uint8)


def _sha256(names: tuple[str, ...], *sums: str) -> dict[str, str]:
    return {name: f"sha256:{digits}" for name, digits in zip(names, sums, strict=True)}


SOURCES = {
    "mnist": Source(
        _MNIST,
        _sha256(
            _IDX_FILES,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        _convert_idx,
    ),
    "fashion_mnist": Source(
        _FASHION,
        _sha256(
            _IDX_FILES,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        _convert_idx,
    ),
    "cifar10": Source(
        _CIFAR,
        _sha256(("cifar-10-binary.tar.gz",), "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        _convert_cifar,
    ),
    "traffic_signs": Source(
        _GTSRB,
        {
            "GTSRB_Final_Training_Images.zip": "md5:f33fd80ac59bff73c82d25ab499e03a3",
            "GTSRB_Final_Test_Images.zip": "md5:c7e4e6327067d32654124b0fe9e82185",
            "GTSRB_Final_Test_GT.zip": "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5",
        },
        _convert_gtsrb,
    ),
}
