"""Datasets: the documented forms are read, splits are disjoint, damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from puvae_rt import data
from puvae_rt.data import DATA_VARIABLE, KNOWN, load_dataset
from puvae_rt.data.download import GTSRB_CLASSES
from puvae_rt.errors import DataError

RNG = np.random.default_rng(0)


def arrays(shape: tuple[int, ...] = (28, 28), classes: int = 3, train: int = 60, test: int = 12) -> dict[str, Any]:
    return {
        "x_train": RNG.integers(0, 256, (train, *shape), dtype=np.uint8),
        "y_train": np.arange(train) % classes,
        "x_test": RNG.integers(0, 256, (test, *shape), dtype=np.uint8),
        "y_test": np.arange(test) % classes,
    }


def write(path: Path, **content: Any) -> Path:
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param((28, 28), (1, 28, 28), id="gray as it is"),
        pytest.param((40, 30), (1, 28, 28), id="gray resized"),
        pytest.param((16, 16, 1), (1, 28, 28), id="gray with an axis"),
        pytest.param((32, 32, 3), (3, 32, 32), id="colour as it is"),
        pytest.param((50, 70, 3), (3, 32, 32), id="colour resized"),
    ],
)
def test_own_images_of_any_size(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    dataset = load_dataset("own", write(tmp_path / "own.npz", **arrays(shape)))
    assert dataset.contract.shape == expected and dataset.classes == ("0", "1", "2")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (54, 6, 12)


def test_splits_are_disjoint_seeded_and_complete(tmp_path: Path) -> None:
    content = arrays()
    content["x_train"] = np.zeros((60, 28, 28), dtype=np.uint8)
    content["x_train"][:, 0, 0] = np.arange(60)  # each image carries its number
    path = write(tmp_path / "own.npz", **content)
    one, two = load_dataset("own", path), load_dataset("own", path)
    kept, held = (set(s.images[:, 0, 0, 0].tolist()) for s in (one.train, one.validation))
    assert not kept & held and kept | held == set(range(60))
    assert np.array_equal(one.validation.images, two.validation.images)


def test_frames_of_one_track_stay_on_one_side(tmp_path: Path) -> None:
    content = arrays((32, 32, 3)) | {"track_train": np.repeat(np.arange(12), 5)}
    content["x_train"][:, 0, 0, 0] = content["track_train"]
    dataset = load_dataset("own", write(tmp_path / "own.npz", **content))
    kept, held = (set(s.images[:, 0, 0, 0].tolist()) for s in (dataset.train, dataset.validation))
    assert held and not kept & held and kept | held == set(range(12))


def test_a_folder_tree_is_read_in_class_order(tmp_path: Path) -> None:
    for split, count in (("train", 10), ("test", 2)):
        for value, name in ((200, "stop"), (10, "go")):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                image = np.full((20, 24, 3), (value, 0, 0), dtype=np.uint8)  # blue in OpenCV's order
                cv2.imwrite(str(tmp_path / split / name / f"{i}.png"), image)
    dataset = load_dataset("own", tmp_path)
    assert dataset.classes == ("go", "stop") and dataset.contract.shape == (3, 32, 32)
    stop = dataset.test.images[dataset.test.labels == 1]
    assert stop.shape == (2, 3, 32, 32) and stop[:, 2].min() == 200 and stop[:, 0].max() == 0  # RGB


def test_jpeg_bytes_are_decoded(tmp_path: Path) -> None:
    files = [cv2.imencode(".jpg", np.full((32, 32, 3), 20 * i, np.uint8))[1].ravel() for i in range(12)]
    stored = {
        "jpeg": np.concatenate(files),
        "offsets": np.cumsum([0, *map(len, files)]),
    }
    content = {f"x_{s}_{k}": v for s in ("train", "test") for k, v in stored.items()}
    labels = {f"y_{s}": np.arange(12) % 2 for s in ("train", "test")}
    dataset = load_dataset("own", write(tmp_path / "own.npz", **content, **labels))
    assert sorted(int(i.mean().round()) for i in dataset.test.images) == [20 * i for i in range(12)]


BROKEN = {
    "no x_test": ({"x_test": None}, "x_test is missing"),
    "float images": ({"x_train": np.zeros((60, 28, 28))}, "expected uint8"),
    "two channels": ({"x_train": np.zeros((60, 28, 28, 2), np.uint8)}, "1 or 3 channels"),
    "count differs": ({"y_train": np.arange(59) % 3}, "60 train images but 59 labels"),
    "one class": ({"y_train": np.zeros(60, int), "y_test": np.zeros(12, int)}, "1 classes"),
    "gap in labels": ({"y_train": np.arange(60) % 3 * 2}, "expected 0..2"),
    "unknown test label": ({"y_test": np.arange(12) % 4}, "outside 0..2"),
    "float labels": ({"y_train": np.zeros(60)}, "expected integer labels"),
    "class names": ({"class_names": np.array(["a", "b"])}, "2 class names for 3 classes"),
    "tracks": ({"track_train": np.arange(5)}, "track_train has 5"),
    "other test shape": ({"x_test": np.zeros((12, 32, 32, 3), np.uint8)}, "test"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_npz_is_named(tmp_path: Path, case: str) -> None:
    changes, message = BROKEN[case]
    content = {k: v for k, v in (arrays() | changes).items() if v is not None}
    with pytest.raises(DataError, match=message):
        load_dataset("own", write(tmp_path / "own.npz", **content))


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    content = arrays() | {"y_train": np.array([{}] * 60, dtype=object)}
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_dataset("own", write(tmp_path / "own.npz", **content))


def test_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "own.npz", **arrays())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_dataset("own", path)


def test_unknown_names_and_paths_say_what_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="mnist, fashion_mnist"):
        load_dataset("emnist")
    with pytest.raises(DataError, match="train/ and test/"):
        load_dataset("own", tmp_path / "absent")
    with pytest.raises(DataError, match=r"absent.npz: no such file or folder \(--data\)"):
        load_dataset("own", tmp_path / "absent.npz")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no such file .*give --dataset mnist, without --data"):
        load_dataset("own", Path("mnist"))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(DataError, match=rf"absent: no such file or folder \({DATA_VARIABLE}\)"):
        load_dataset("mnist")


def test_the_data_variable_names_a_folder_of_npz_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mnist.npz", **arrays(classes=10))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert load_dataset("mnist").classes == tuple("0123456789")


def test_the_named_datasets_know_their_classes() -> None:
    assert {name: len(known.classes) for name, known in KNOWN.items()} == {
        "mnist": 10,
        "fashion_mnist": 10,
        "cifar10": 10,
        "traffic_signs": GTSRB_CLASSES,
    }
    signs = KNOWN["traffic_signs"].classes
    assert len(set(signs)) == GTSRB_CLASSES and (signs[14], signs[25]) == ("stop", "construction")


@pytest.mark.parametrize("name", ["COLOUR_SIDE", "GRAY_SIDE", "MAX_BYTES", "SPLIT_SEED", "DIGITS", "IMAGE_SUFFIXES"])
def test_names_that_moved_within_the_package_are_still_found(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=name):
        assert getattr(data, name)
