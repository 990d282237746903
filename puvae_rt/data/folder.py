"""Data sets in a folder tree: train/CLASS/* and test/CLASS/*. No image is left out without a word."""

from __future__ import annotations

import logging
import os
import stat
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from puvae_rt.data.checks import check_class_names
from puvae_rt.data.headers import PREFIX, READ, format_of
from puvae_rt.data.images import COLOR_SIDE, GRAY_SIDE, Images, decode, is_gray, resize, to_planes
from puvae_rt.data.splits import Labels, Raw, Split
from puvae_rt.errors import DataError
from puvae_rt.files import open_regular

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 64 << 20  # of one image file
MAX_IMAGES = 1 << 20
FULL_RANGE = 1 << 15  # what the lightest of many 16-bit images reaches when they use their 16 bits
SPLITS = ("train", "test")
IGNORED = frozenset({"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"})  # left by archives and file managers
# A file so named has to be an image; others are when they begin like one.
IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pxm", ".ras", ".sr", ".jp2", ".j2k", ".jpf", ".jpx", ".avif"),
    *(".heic", ".heif", ".hdr", ".pfm", ".exr", ".jxl", ".psd", ".ico", ".svg", ".tga"),
)


@dataclass
class _Pictures:
    """Images of one split in both sizes: gray as long as every one is gray, and in color."""

    gray: list[Images] = field(default_factory=list)  # [GRAY_SIDE,GRAY_SIDE,1]
    color: list[Images] = field(default_factory=list)  # [COLOR_SIDE,COLOR_SIDE,3]
    labels: list[int] = field(default_factory=list)

    def split(self, gray: bool) -> Split:
        labels: Labels = np.array(self.labels, dtype=np.int64)
        return Split(to_planes(np.stack(self.gray if gray else self.color)), labels)


@dataclass
class _Reader:
    """What the files of a tree have in common."""

    root: Path
    gray: bool = True  # every image so far
    peaks: list[tuple[int, Path]] = field(default_factory=list)  # of the 16-bit images
    skipped: dict[str, list[Path]] = field(default_factory=dict)  # files that are no images, by suffix

    def read(self, folder: Path, label: int, into: _Pictures) -> None:
        """Every image of one class folder; DataError when it holds none."""
        before, others = len(into.labels), Counter[str]()
        for path in _files(folder):
            data = _image_bytes(path)
            if data is None:
                self.skipped.setdefault(path.suffix or "no suffix", []).append(path)
                others[path.suffix or "no suffix"] += 1
                continue
            self._add(path, data, label, into)
        if len(into.labels) == before:
            found = ", ".join(f"{count} x {suffix}" for suffix, count in others.most_common(5)) or "nothing"
            raise DataError(
                f"{folder}: no image, it holds {found}; expected images ({', '.join(READ)}), or remove the folder"
            )

    def _add(self, path: Path, data: bytes, label: int, into: _Pictures) -> None:
        if len(into.labels) >= MAX_IMAGES:
            raise DataError(f"{self.root}: more than {MAX_IMAGES} images; leave some out")
        pixels, peak = decode(data, str(path))
        if peak is not None:
            self.peaks.append((peak, path))
        self.gray = self.gray and is_gray(pixels)
        if self.gray:
            into.gray.append(resize(pixels[..., :1], GRAY_SIDE).astype(np.uint8, copy=False))
        into.color.append(resize(pixels, COLOR_SIDE).astype(np.uint8, copy=False))
        into.labels.append(label)


def read_tree(root: Path) -> Raw:
    """root/{train,test}/CLASS/*, sub-folders included; classes in the order of their names.

    Gray if every image is gray. Names that begin with "." and what archives and file managers leave behind are passed
    over; files that are no images are counted in the log.

    Raises:
        DataError: an image that cannot be read, a class without one or in test/ only, an image outside the class
            folders, a link that leads nowhere, a file that is none (FIFO, device).
    """
    classes = _class_folders(root / "train")
    _check_classes(root, classes, _class_folders(root / "test"))
    reader, splits = _Reader(root), {split: _Pictures() for split in SPLITS}
    for split, pictures in splits.items():
        for label, name in enumerate(classes):
            if (folder := root / split / name).is_dir():
                reader.read(folder, label, pictures)
        if not pictures.labels:
            raise DataError(f"{root / split}: no images in class folders; expected CLASS/*.png or *.jpg")
    peak, example = max(reader.peaks, default=(FULL_RANGE, root))
    if peak < FULL_RANGE:
        raise DataError(
            f"{root}: {len(reader.peaks)} images of 16 bits, such as {example}, hold {peak.bit_length()} bits (the "
            f"largest value is {peak}) and would be nearly black; scale them to 8 bits and save again"
        )
    _note_left_out(root, reader.skipped)
    return Raw(splits["train"].split(reader.gray), splits["test"].split(reader.gray), classes)


def _entries(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """What lies in a folder, by name, links followed; hidden names and leftovers passed over."""
    found = []
    try:
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and path.name not in IGNORED:
                found.append((path, path.stat()))
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be read ({error.strerror}); mend or remove it") from error
    return found


def _class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the class folders; DataError for an image beside them."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected train/ and test/, in each a folder for every class")
    names, others, places = [], [], dict[tuple[int, int], Path]()
    for path, status in _entries(folder):
        if stat.S_ISDIR(status.st_mode):
            names.append(path.name)
            if (same := places.setdefault((status.st_dev, status.st_ino), path)) != path:
                raise DataError(f"{path}: is the same folder as {same}; remove the link, or one class has two names")
        elif _image_bytes(path) is not None:
            raise DataError(f"{path}: an image in no class folder; move it to {folder.name}/CLASS/")
        else:
            others.append(path.name)
    if not names:
        raise DataError(f"{folder}: no class folders; expected CLASS/*.png or *.jpg")
    if others:
        logger.warning("%s: not read, being in no class folder: %s", folder, ", ".join(map(ascii, others[:20])))
    return tuple(names)


def _check_classes(root: Path, train: tuple[str, ...], test: tuple[str, ...]) -> None:
    check_class_names(f"{root / 'train'}", train)
    by_look: dict[str, str] = {}
    for name in train:
        if (other := by_look.setdefault(_look(name), name)) != name:
            raise DataError(f"{root / 'train'}: class folders {other!a} and {name!a} look alike; rename or merge them")
    by_letters = {_look(name).casefold(): name for name in train}
    if unknown := [name for name in test if name not in train]:
        near = by_letters.get(_look(unknown[0]).casefold())
        hint = f"; train/ has {near!a}: rename one" if near else ""
        named = ", ".join(map(ascii, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        raise DataError(f"{root / 'test'}: class folders that train/ lacks: {named}; expected the same names{hint}")
    if len(by_letters) < len(train):
        logger.warning("%s: class folders whose names differ in upper and lower case only", root / "train")


def _look(name: str) -> str:
    """The name as one sees it: composed letters, no space around it."""
    return unicodedata.normalize("NFC", name).strip()


def _files(folder: Path) -> list[Path]:
    """Every file below a folder, by name; DataError for what is neither a file nor a folder."""
    files, pending, seen = [], [folder], set()
    while pending:
        current = pending.pop()
        status = current.stat()
        identity = status.st_dev, status.st_ino
        if identity in seen:
            raise DataError(f"{current}: a link leads to a folder that is read already; remove it")
        seen.add(identity)
        for path, status in _entries(current):
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
            elif stat.S_ISREG(status.st_mode):
                files.append(path)
            else:
                raise DataError(f"{path}: not a file but a FIFO, socket or device; remove it")
    return sorted(files)


def _image_bytes(path: Path) -> bytes | None:
    """The bytes of an image file, or None when it is of another kind."""
    try:
        with open_regular(path) as file:
            prefix = file.read(PREFIX)
            if path.suffix.lower() not in IMAGE_SUFFIXES and format_of(prefix) is None:
                return None
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise DataError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MB; shrink it")
            return prefix + file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); mend or remove it") from error


def _note_left_out(root: Path, skipped: dict[str, list[Path]]) -> None:
    for suffix, paths in sorted(skipped.items()):
        count, example = len(paths), ascii(str(paths[0]))
        logger.warning("%s: %d files (%s) are no images and were left out, such as %s", root, count, suffix, example)
    beside = [path for path, _ in _entries(root) if path.name not in SPLITS]
    if others := [ascii(path.name) for path in beside if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES]:
        logger.warning("%s: not read, validation being cut from train/: %s", root, ", ".join(others[:20]))
