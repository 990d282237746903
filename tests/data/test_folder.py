"""Folder trees: what is read, what is left out, what is said about it."""

from __future__ import annotations

import logging
import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.data import load_dataset
from puvae_rt.errors import DataError
from tests.data.trees import encode, picture, tree


def load(root: Path, classes: int = 3) -> int:
    """Images of all splits of `root`."""
    dataset = load_dataset("own", root)
    assert len(dataset.classes) == classes
    return sum(len(split) for split in (dataset.train, dataset.validation, dataset.test))


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir"])
@pytest.mark.parametrize("place", ["train", "train/a", "test", "."])
def test_hidden_and_stray_folders_are_no_classes(tmp_path: Path, name: str, place: str) -> None:
    folder = tree(tmp_path) / place / name
    folder.mkdir()
    (folder / "copy.png").write_bytes(encode(picture(0)))
    assert load(tmp_path) == 48


@pytest.mark.parametrize("name", ["._000.png", ".DS_Store", "Thumbs.db", "desktop.ini"])
def test_leftovers_among_images_are_passed_over(tmp_path: Path, name: str) -> None:
    (tree(tmp_path) / "train/a" / name).write_bytes(b"\0\5\26\7 no image")
    assert load(tmp_path) == 48


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["zebra", "bb"])
def test_an_empty_class_folder_is_named(tmp_path: Path, split: str, name: str) -> None:
    for s in ("train", "test"):
        (tree_once(tmp_path) / s / name).mkdir(exist_ok=True)
        if s != split:
            (tmp_path / s / name / "1.png").write_bytes(encode(picture(99)))
    with pytest.raises(DataError, match=f"{split}/{name}: no image, it holds nothing"):
        load(tmp_path)


def tree_once(root: Path) -> Path:
    return root if (root / "train").exists() else tree(root)


def test_a_class_that_loses_everything_says_what_it_holds(tmp_path: Path) -> None:
    for path in (tree(tmp_path) / "train/b").iterdir():
        path.rename(path.with_suffix(".txt")).write_text("no image")
    with pytest.raises(DataError, match=r"train/b: no image, it holds 12 x \.txt"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "hint"), [("c", "C", "train/ has 'c'"), ("c", "c ", "train/ has 'c'"), ("c", "d", "lacks: 'd'")]
)
def test_test_classes_that_train_lacks_are_refused(tmp_path: Path, old: str, new: str, hint: str) -> None:
    folder = tree(tmp_path) / "test" / old
    folder.rename(folder.with_name(new))
    with pytest.raises(DataError, match=hint):
        load(tmp_path)


def test_names_that_differ_in_their_unicode_form_only_are_refused(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    folder = tree(tmp_path, ("a", composed)) / "test" / composed
    folder.rename(folder.with_name(apart))
    with pytest.raises(DataError, match="rename one"):
        load(tmp_path, 2)
    (tmp_path / "train" / apart).mkdir()
    with pytest.raises(DataError, match="look alike"):
        load(tmp_path, 2)


def test_names_that_differ_in_case_only_are_two_classes_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(tree(tmp_path, ("a", "A", "b"))) == 48
    assert "upper and lower case only" in caplog.text


def test_class_names_of_any_script_are_read(tmp_path: Path) -> None:
    names = ("Straße 30", "止まれ", "señal")
    assert load_dataset("own", tree(tmp_path, names)).classes == tuple(sorted(names))


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", b"a\x07"])
def test_class_names_that_cannot_be_written_down_are_refused(tmp_path: Path, name: bytes) -> None:
    tree(tmp_path)
    (tmp_path / "train/c").rename(tmp_path / "train" / os.fsdecode(name))
    with pytest.raises(DataError, match=r"class name .* printable"):
        load(tmp_path)


def test_a_class_without_test_images_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in (tree(tmp_path) / "test/b").iterdir():
        path.unlink()
    (tmp_path / "test/b").rmdir()
    assert load(tmp_path) == 44
    assert "no test image of 1 of 3 classes (b)" in caplog.text


def test_sub_folders_of_a_class_are_read(tmp_path: Path) -> None:
    deep = tree(tmp_path) / "train/a/more/still"
    deep.mkdir(parents=True)
    for path in sorted((tmp_path / "train/a").glob("00*.png")):
        path.rename(deep / path.name)
    assert load(tmp_path) == 48


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tiff", ".ppm", ".jpg", ".pgm", ".ras"])
@pytest.mark.parametrize("name", [str, str.upper, lambda _: ".jfif", lambda _: "", lambda _: ".data"])
def test_every_format_is_read_whatever_its_suffix(
    tmp_path: Path, suffix: str, name: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    for path in sorted((tree(tmp_path) / "train/b").iterdir())[:8]:
        image = picture(int(path.stem))
        path.with_suffix(name(suffix)).write_bytes(encode(image[..., 0] if suffix == ".pgm" else image, suffix))
        path.unlink()
    assert load(tmp_path) == 48
    assert not caplog.records


def test_files_that_are_no_images_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tree(tmp_path)
    for i in range(3):
        (root / "train/a" / f"{i}.txt").write_text("a label")
    (root / "train/labels.csv").write_text("a,b")
    (root / "val").mkdir()
    (root / "one.png").write_bytes(encode(picture(0)))
    with caplog.at_level(logging.WARNING):
        assert load(root) == 48
    assert "3 files (.txt) are no images and were left out" in caplog.text
    assert "labels.csv" in caplog.text and "'one.png', 'val'" in caplog.text


def test_images_outside_the_class_folders_are_refused(tmp_path: Path) -> None:
    (tree(tmp_path) / "train/1.png").write_bytes(encode(picture(0)))
    with pytest.raises(DataError, match=r"train/1\.png: an image in no class folder"):
        load(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_class_folders_is_refused(tmp_path: Path, split: str) -> None:
    for path in (tree(tmp_path) / split).iterdir():
        path.rename(tmp_path / f"elsewhere_{path.name}")
    with pytest.raises(DataError, match=f"{split}: no class folders"):
        load(tmp_path)
    (tmp_path / split).rmdir()
    with pytest.raises(DataError, match="train/ and test/"):
        load(tmp_path)


def test_class_folders_and_images_may_be_links(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree")
    elsewhere = tmp_path / "elsewhere"
    (root / "train/a").rename(elsewhere)
    (root / "train/a").symlink_to(elsewhere)
    path = root / "train/b/000.png"
    path.rename(tmp_path / "one.png")
    path.symlink_to(tmp_path / "one.png")
    assert load(root) == 48


def test_two_names_of_one_folder_are_refused(tmp_path: Path) -> None:
    (tree(tmp_path) / "train/d").symlink_to("a")
    with pytest.raises(DataError, match=r"train/d: is the same folder as .*train/a"):
        load(tmp_path, 4)


def absent(path: Path) -> None:
    path.symlink_to("/nonexistent/x.png")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def circle(path: Path) -> None:
    path.symlink_to(path.parent)


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b"") and None,
    "dangling link": absent,
    "FIFO": lambda path: os.mkfifo(path),
    "device": endless,
    "socket": listening,
    "circle of links": circle,
    "huge sparse file": sparse,
    "text": lambda path: path.write_text("no image") and None,
}


@pytest.mark.parametrize("place", ["train/a/x.png", "train/a/sub/x.png", "test/b/x.png"])
@pytest.mark.parametrize("make", SPECIAL.values(), ids=list(SPECIAL))
def test_special_files_are_data_errors_that_name_them(tmp_path: Path, make: Callable[[Path], None], place: str) -> None:
    path = tree(tmp_path) / place
    path.parent.mkdir(exist_ok=True)
    make(path)
    with pytest.raises(DataError, match=r"x\.png"):
        load(tmp_path)


def test_a_class_that_is_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tree(tmp_path) / "train/d").symlink_to(tmp_path / "absent")
    with pytest.raises(DataError, match=r"train/d: cannot be read"):
        load(tmp_path)


def test_glyphs_in_the_alpha_channel_are_refused(tmp_path: Path) -> None:
    for path in tree(tmp_path).rglob("*.png"):
        glyph = picture(int(path.stem))
        path.write_bytes(encode(np.dstack([np.zeros_like(glyph), glyph[..., 0]])))
    with pytest.raises(DataError, match="transparent"):
        load(tmp_path)


def test_a_split_of_one_picture_again_and_again_is_refused(tmp_path: Path) -> None:
    for path in tree(tmp_path).rglob("test/*/*.png"):
        path.write_bytes(encode(picture(0)))
    with pytest.raises(DataError, match="all 12 test images are alike"):
        load(tmp_path)


@pytest.mark.parametrize(("bits", "refused"), [(10, True), (12, True), (14, True), (16, False)])
def test_16_bit_images_that_do_not_use_them_are_refused(tmp_path: Path, bits: int, refused: bool) -> None:
    for path in tree(tmp_path).rglob("*.png"):
        image = picture(int(path.stem))[..., 0].astype(np.uint16) * 257 >> (16 - bits)
        path.write_bytes(encode(image))
    if refused:
        with pytest.raises(DataError, match=f"{bits} bits.*scale them to 8 bits"):
            load(tmp_path)
    else:
        assert load_dataset("own", tmp_path).train.images.max() == 255


@pytest.mark.parametrize("colored", [None, "train/a/000.png", "test/c/003.png"])
def test_one_colored_image_makes_the_set_one_of_color(tmp_path: Path, colored: str | None) -> None:
    root = tree(tmp_path)
    if colored:
        (root / colored).write_bytes(encode(picture(1) // np.array([1, 1, 2], np.uint8)))
    assert load_dataset("own", root).contract.shape == ((3, 32, 32) if colored else (1, 28, 28))


def test_the_first_images_of_every_split_are_of_all_classes(tmp_path: Path) -> None:
    root = tree(tmp_path, tuple("abcdefgh"), train=40, test=20)
    one, two = load_dataset("own", root), load_dataset("own", root)
    for split, expected in ((one.train, 8), (one.validation, 5), (one.test, 8)):
        assert len(set(split.head(len(split) // 2).labels.tolist())) >= expected
    for split, same in zip((one.train, one.test), (two.train, two.test), strict=True):
        assert np.array_equal(split.images, same.images) and np.array_equal(split.labels, same.labels)
