"""Downloads: over https, held to a checksum, converted once; every failure names the remedy."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.data import KNOWN, load_dataset
from puvae_rt.data import download as downloads
from puvae_rt.data.download import SOURCES, Source, download
from puvae_rt.errors import DataError
from tests.data.trees import encode

RNG = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with MNIST in miniature, served as its source; the cache is empty."""
    folder = tmp_path / "served"
    folder.mkdir()
    images = [RNG.integers(0, 256, (count, 28, 28)) for count in (60, 20)]
    arrays = (images[0], np.arange(60) % 10, images[1], np.arange(20) % 10)
    sums = {}
    for name, array in zip(SOURCES["mnist"].files, arrays, strict=True):
        (folder / name).write_bytes(idx(array))
        sums[name] = f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = Source(f"http://127.0.0.1:{server.server_port}/", sums, SOURCES["mnist"].convert)
    monkeypatch.setitem(downloads.SOURCES, "mnist", source)
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PUVAE_DATA", raising=False)
    yield folder
    server.shutdown()
    server.server_close()


def test_every_source_is_https_with_a_checksum_of_the_right_length() -> None:
    assert set(SOURCES) == set(KNOWN)
    digits = {"sha256": 64, "md5": 32}
    for name, source in SOURCES.items():
        assert source.base.startswith("https://") and source.base.endswith("/")
        for known in source.files.values():
            algorithm, _, value = known.partition(":")
            assert len(value) == digits[algorithm] and set(value) <= set("0123456789abcdef")
            assert algorithm == "sha256" or name == "traffic_signs", "its publishers give MD5 only"


def test_a_download_is_converted_once_and_read(served: Path) -> None:
    dataset = load_dataset("mnist")
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (60, 20)
    assert dataset.test.labels.tolist() == [i % 10 for i in range(20)], "the order of its file"
    for path in served.iterdir():
        path.unlink()
    assert np.array_equal(load_dataset("mnist").test.images, dataset.test.images)


def test_another_file_than_the_published_one_is_refused(served: Path, tmp_path: Path) -> None:
    path = served / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"download failed.*--data"):
        load_dataset("mnist")
    assert not (tmp_path / "cache/data/mnist.npz").exists()


def test_a_source_that_does_not_answer_names_the_remedy(served: Path) -> None:
    (served / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"download failed.*--data"):
        download("mnist")


def traffic_signs(folder: Path, damaged: bytes = b"") -> list[Path]:
    """The three archives of GTSRB in miniature: two classes, two tracks each of two frames; two test images."""
    paths = [folder / name for name in SOURCES["traffic_signs"].files]
    with zipfile.ZipFile(paths[0], "w") as archive:
        for label in (1, 0):
            for track in range(2):
                for frame in range(2):
                    image = np.full((40, 50, 3), 100 * label + 10 * track + frame, np.uint8)
                    name = f"GTSRB/Final_Training/Images/{label:05d}/{track:05d}_{frame:05d}.ppm"
                    archive.writestr(name, encode(image, ".ppm"))
        if damaged:
            archive.writestr("GTSRB/Final_Training/Images/00000/00009_00000.ppm", damaged)
    with zipfile.ZipFile(paths[1], "w") as archive:
        for i in range(2):
            archive.writestr(f"GTSRB/Final_Test/Images/{i:05d}.ppm", encode(np.full((9, 9, 3), i, np.uint8), ".ppm"))
    with zipfile.ZipFile(paths[2], "w") as archive:
        archive.writestr("GT-final_test.csv", "Filename;ClassId\n00001.ppm;1\n00000.ppm;0\n")
    return paths


def test_traffic_signs_are_converted_with_their_tracks(tmp_path: Path) -> None:
    arrays = SOURCES["traffic_signs"].convert(traffic_signs(tmp_path))
    assert arrays["x_train"].shape == (8, 32, 32, 3) and arrays["x_test"][:, 0, 0, 0].tolist() == [0, 1]
    assert arrays["y_train"].tolist() == [0] * 4 + [1] * 4 and arrays["y_test"].tolist() == [0, 1]
    assert arrays["track_train"].tolist() == [0, 0, 1, 1, 1000, 1000, 1001, 1001]


@pytest.mark.parametrize("damaged", [b"P6 40000 40000 255 ", b"no image"])
def test_a_damaged_image_in_an_archive_is_named(tmp_path: Path, damaged: bytes) -> None:
    with pytest.raises(DataError, match=r"00009_00000\.ppm"):
        SOURCES["traffic_signs"].convert(traffic_signs(tmp_path, damaged))
