"""Checksummed downloads of the named datasets, converted once to the .npz form that `puvae_rt.data` reads."""

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

from puvae_rt.errors import DataError
from puvae_rt.files import atomic_file
from puvae_rt.user_cache import VARIABLE, cache_folder

Arrays = dict[str, NDArray[Any]]
TIMEOUT_SECONDS = 60

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
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
    base: str
    md5: dict[str, str]  # the publishers' own checksums
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
            Path(
                pooch.retrieve(source.base + file, f"md5:{md5}", fname=f"{name}-{file}", path=cache, downloader=fetcher)
            )
            for file, md5 in source.md5.items()
        ]
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        raise DataError(f"{name}: download failed ({error}); try again, or give the images with --data PATH") from error
    with atomic_file(target) as part:
        np.savez_compressed(part, allow_pickle=False, **source.convert(files))
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
    image = cv2.imdecode(np.frombuffer(archive.read(name), dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{archive.filename}: {name} is not a readable image; delete the file and try again")
    return np.asarray(cv2.resize(image, (GTSRB_SIDE, GTSRB_SIDE))[:, :, ::-1], dtype=np.uint8)


def _md5(names: tuple[str, ...], *sums: str) -> dict[str, str]:
    return dict(zip(names, sums, strict=True))


SOURCES = {
    "mnist": Source(
        _MNIST,
        _md5(
            _IDX_FILES,
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        _convert_idx,
    ),
    "fashion_mnist": Source(
        _FASHION,
        _md5(
            _IDX_FILES,
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        _convert_idx,
    ),
    "cifar10": Source(_CIFAR, {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}, _convert_cifar),
    "traffic_signs": Source(
        _GTSRB,
        {
            "GTSRB_Final_Training_Images.zip": "f33fd80ac59bff73c82d25ab499e03a3",
            "GTSRB_Final_Test_Images.zip": "c7e4e6327067d32654124b0fe9e82185",
            "GTSRB_Final_Test_GT.zip": "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
        },
        _convert_gtsrb,
    ),
}
