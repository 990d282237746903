"""An .npz of one's own: what it declares is checked before it is unpacked."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from puvae_rt.data import load_dataset, read_npz
from puvae_rt.errors import DataError

RNG = np.random.default_rng(0)


def content(train: int = 60, test: int = 12, classes: int = 3) -> dict[str, Any]:
    return {
        "x_train": RNG.integers(0, 256, (train, 28, 28), dtype=np.uint8),
        "y_train": np.arange(train) % classes,
        "x_test": RNG.integers(0, 256, (test, 28, 28), dtype=np.uint8),
        "y_test": np.arange(test) % classes,
    }


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    """An .npy that announces an array and holds none of it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def archive(path: Path, **members: bytes) -> Path:
    """An .npz of sound arrays, of which `members` replace some."""
    write(path, **{k: v for k, v in content().items() if k not in members})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members.items():
            opened.writestr(f"{name}.npy", data)
    return path


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "labels from 1": ({"y_train": np.arange(60) % 3 + 1}, "no image has label 0"),
    "labels [N,1]": ({"y_train": np.arange(60)[:, None] % 3}, r"expected integer labels \[N\]"),
    "one-hot labels": ({"y_train": np.eye(3)[np.arange(60) % 3]}, "expected integer labels"),
    "text labels": ({"y_train": np.array(list("abc"))[np.arange(60) % 3]}, "expected integer labels"),
    "bool labels": ({"y_train": np.arange(60) % 2 > 0}, "expected integer labels"),
    "negative labels": ({"y_train": np.arange(60) % 3 - 1}, "leave out images of no class"),
    "labels beyond int64": ({"y_train": np.where(np.arange(60), 1, 2**63).astype(np.uint64)}, "labels from 0 to 999"),
    "a gap": ({"y_train": np.where(np.arange(60) % 3 == 1, 0, np.arange(60) % 3)}, "no image has label 1"),
    "label of no axis": ({"y_test": np.array(1)}, "expected integer labels"),
    "images of floats": ({"x_train": np.zeros((60, 28, 28), np.float32)}, "expected uint8"),
    "channels first": ({"x_train": np.zeros((60, 3, 32, 32), np.uint8)}, r"transpose\(0, 2, 3, 1\)"),
    "four channels": ({"x_train": np.zeros((60, 32, 32, 4), np.uint8)}, "1 or 3 channels"),
    "rows": ({"x_train": np.zeros((60, 784), np.uint8)}, "expected uint8"),
    "no test image": ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, int)}, "without a pixel"),
    "images all alike": ({"x_train": np.full((60, 28, 28), 9, np.uint8)}, "60 train images are alike"),
    "class names of no axis": ({"class_names": np.array("abc")}, "class_names is"),
    "class names in rows": ({"class_names": np.array([["a", "b", "c"]])}, "class_names is"),
    "class names as objects": ({"class_names": np.array(["a", "b", None], object)}, "Python objects"),
    "class names twice": ({"class_names": np.array(["a", "b", "a"])}, "'a' is given twice"),
    "class names empty": ({"class_names": np.array(["a", "b", " "])}, "printable"),
    "class names of surrogates": ({"class_names": np.array(["a", "b", "c\udce9"])}, "printable"),
    "class names of lines": ({"class_names": np.array(["a", "b", "c\nd"])}, "printable"),
    "class names not UTF-8": ({"class_names": np.array([b"a", b"b", b"\xe9"])}, "not a readable"),
    "one track": ({"track_train": np.zeros(60, int)}, "no track can be spared"),
    "tracks of NaN": ({"track_train": np.full(60, np.nan)}, "track_train is float64"),
    "tracks in rows": ({"track_train": np.zeros((60, 1), int)}, "track_train is"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_data_errors_that_name_them(tmp_path: Path, case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        load_dataset("own", write(tmp_path / "own.npz", **content() | changes))


def test_other_tools_forms_of_the_same_arrays_are_read(tmp_path: Path) -> None:
    arrays = content() | {"class_names": np.array([b"a", b"b", b"c"])}
    arrays["y_train"] = arrays["y_train"].astype(">i8")
    arrays["x_train"] = np.asfortranarray(arrays["x_train"])
    dataset = load_dataset("own", write(tmp_path / "own.NPZ.npz", **arrays))
    assert dataset.classes == ("a", "b", "c") and dataset.train.labels.dtype == np.int64


def test_arrays_that_nobody_reads_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_dataset("own", write(tmp_path / "own.npz", **content(), x_val=np.zeros(3)))
    assert "not read: x_val" in caplog.text


BOMBS = {
    "more than memory": {"x_train": header((1 << 20, 1 << 20))},
    "more than an integer": {"x_train": header((1 << 62, 1 << 62))},
    "together too much": {"x_train": header((1 << 32, 1, 1)), "x_test": header((1 << 32, 1, 1))},
    "labels of billions": {"y_train": header((1 << 33,), "<i8")},
    "names of nothing": {"class_names": header((1 << 60,), "<U0")},
    "more than is there": {"x_train": header((60, 2000, 2000))},
    "negative": {"x_train": header((-1, 28, 28))},
}


@pytest.mark.parametrize("case", BOMBS)
def test_declared_sizes_are_checked_before_anything_is_unpacked(tmp_path: Path, case: str) -> None:
    path = archive(tmp_path / "own.npz", **BOMBS[case])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"own\.npz: "):
            load_dataset("own", path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "own.npz", x_train=header((60, 28, 28)) + bytes(60 * 28 * 28))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"x_train.npy") - 46 + 24  # of the central directory: the size once unpacked
    data[place : place + 4] = (200).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"own\.npz"):
        load_dataset("own", path)


@pytest.mark.parametrize(
    "offsets",
    [[0], [], [5, 3], [0, 10**9], [-5, 10], [0.0, 10.0], [[0, 10]]],
    ids=str,
)
def test_offsets_that_do_not_cut_are_refused(tmp_path: Path, offsets: list[Any]) -> None:
    arrays = {k: v for k, v in content().items() if k != "x_test"}
    jpeg = {"x_test_jpeg": np.zeros(100, np.uint8), "x_test_offsets": np.array(offsets)}
    with pytest.raises(DataError, match="do not cut"):
        load_dataset("own", write(tmp_path / "own.npz", **arrays, **jpeg))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    (tmp_path / "sparse.npz").touch()
    os.truncate(tmp_path / "sparse.npz", 10 << 30)
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data/mnist.npz")
    for name in ("fifo.npz", "zero.npz", "sparse.npz", "absent.npz"):
        with pytest.raises(DataError, match=name):
            load_dataset("own", tmp_path / name)
        with pytest.raises(DataError, match=name):
            read_npz(tmp_path / name)
    with pytest.raises(DataError, match=r"mnist\.npz"):
        load_dataset("mnist", tmp_path / "data")


def test_images_in_the_order_of_their_classes_are_mixed(tmp_path: Path) -> None:
    arrays = content(train=400, test=200, classes=10)
    for split in ("train", "test"):
        arrays[f"y_{split}"] = np.sort(arrays[f"y_{split}"])[::-1]
    for name in ("own", "mnist"):  # of a named set as well: no shipped one is in that order
        dataset = load_dataset(name, write(tmp_path / "mnist.npz", **arrays))
        for part in (dataset.train, dataset.validation, dataset.test):
            assert len(set(part.head(max(len(part) // 2, 20)).labels.tolist())) == 10


def test_a_named_set_keeps_the_order_of_its_file(tmp_path: Path) -> None:
    arrays = content(classes=10)
    dataset = load_dataset("mnist", write(tmp_path / "mnist.npz", **arrays))
    assert np.array_equal(dataset.test.images[:, 0], arrays["x_test"])
    other = load_dataset("mnist", write(tmp_path / "mine.npz", **arrays))
    assert not np.array_equal(other.test.images[:, 0], arrays["x_test"])


def test_tracks_of_a_mixed_set_stay_on_one_side(tmp_path: Path) -> None:
    arrays = content(train=60) | {"track_train": np.arange(60) // 5}
    arrays["x_train"][:, 0, 0] = arrays["track_train"]
    dataset = load_dataset("own", write(tmp_path / "own.npz", **arrays))
    kept, held = (set(part.images[:, 0, 0, 0].tolist()) for part in (dataset.train, dataset.validation))
    assert kept and held and not kept & held and kept | held == set(range(12))


@pytest.mark.parametrize("groups", [None, [0] * 50 + [1] * 10, [0] * 10 + [1] * 50])
def test_no_class_loses_its_last_training_image(tmp_path: Path, groups: list[int] | None) -> None:
    arrays = content(train=60, classes=2)
    arrays["y_train"] = np.array([0] * 30 + list(range(1, 31)))  # thirty classes of one image
    arrays["y_test"] = np.arange(12) % 31
    if groups is not None:
        arrays |= {"track_train": np.array(groups), "y_train": np.arange(60) % 3, "y_test": np.arange(12) % 3}
    dataset = load_dataset("own", write(tmp_path / "own.npz", **arrays))
    assert set(dataset.train.labels.tolist()) == set(arrays["y_train"].tolist()) and len(dataset.validation)


def test_two_images_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="add images"):
        load_dataset("own", write(tmp_path / "own.npz", **content(2, 2, 2)))


BAD_NAMES = ["road signs", "straße", "a/b", "../up", "n" * 65, "", ".hidden", "-x", "a\0b", "caf\udce9", "a\nb"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_no_file_can_have_are_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="up to 64 letters"):
        load_dataset(name, tmp_path / "absent.npz")


@pytest.mark.parametrize("member", ["class_names.npy", "x_test.npy"])
def test_an_array_whose_name_is_damaged_is_not_left_out(tmp_path: Path, member: str) -> None:
    """An archive says a member's name twice; one that is unknown would be left out, with no more than a warning."""
    path = tmp_path / "own.npz"
    np.savez(path, **content(), class_names=np.array(["a", "b", "c"]))
    name = member.encode()
    data = path.read_bytes()
    at = data.rindex(name)  # in the directory, at the end
    path.write_bytes(data[:at] + name.replace(b"s", b"r") + data[at + len(name) :])
    with pytest.raises(DataError, match=r"own\.npz: not a readable \.npz"):
        load_dataset("own", path)


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, **content())
    with zipfile.ZipFile(path) as opened:
        data = opened.read("x_test.npy")
    with zipfile.ZipFile(path, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr("x_test.npy", data)
    with pytest.raises(DataError, match="two arrays of one name"):
        load_dataset("own", path)
