"""Hostile files of a user: image trees, .npz archives, weights, documents and videos."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from demos.play import synthetic
from export.samples import CLEAN, Samples, load_samples, save_samples
from puvae_rt.contract import ImageContract
from puvae_rt.data import Dataset, load_dataset
from puvae_rt.models.weights import Weights, load_weights
from puvae_rt.video.files import FileSource
from tests.data.trees import encode, picture, tree
from tests.export.toy import header, random_weights, save_weights
from tests.hostile.damage import damaged, remove, replaced, restore
from tests.hostile.documents import DOCUMENTS
from tests.hostile.harness import RIGHT, Kind
from tests.hostile.mutations import mutated

SUFFIXES = (".png", ".png", ".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm", ".jp2", ".gif")
NAMES = (
    ".hidden.png",
    "._a.png",
    "no suffix",
    "a.png.txt",
    "\udcff.png",
    "ü.png",
    "a\nb.png",
    "x" * 200 + ".png",
    "-.png",
)


def images_of(dataset: Dataset) -> list[bytes]:
    """All images and their labels, whatever their order."""
    return sorted(
        bytes([label]) + image.tobytes()
        for split in (dataset.train, dataset.validation, dataset.test)
        for image, label in zip(split.images, split.labels.tolist(), strict=True)
    )


class ImageTree(Kind):
    """A folder tree with one file or folder damaged."""

    name, weight = "image trees", 12

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sound, self.case = tree(folder / "sound", classes=("a", "b"), train=4, test=2), folder / "case"
        self.right = images_of(load_dataset("own", self.sound))

    def attempt(self, draw: random.Random) -> str:
        root = restore(self.sound, self.case)
        files = sorted(root.rglob("*.png"))
        path, kind = draw.choice(files), draw.randrange(8)
        suffix = ".png"
        if kind <= 3:
            suffix = draw.choice(SUFFIXES)
            data = damaged(_encoded(suffix), draw) if suffix != ".png" else damaged(path.read_bytes(), draw)
            path.unlink()
            path.with_suffix(suffix).write_bytes(data)
        elif kind == 4:
            replaced(path, draw, self.sound / path.relative_to(root))
        elif kind == 5:
            replaced(draw.choice([p for p in root.rglob("*") if p.is_dir()]), draw, self.sound / "train")
        elif kind == 6:
            (path.parent / draw.choice(NAMES)).write_bytes(draw.choice((b"", path.read_bytes(), b"text", bytes(200))))
        else:
            (path.parent.parent / draw.choice((*NAMES, "Thumbs.db", "A", "b "))).mkdir()
        got = images_of(load_dataset("own", root))
        if suffix == ".png" and kind <= 3:
            assert got == self.right, "other pixels than of the sound image, though PNG has checksums"
        return RIGHT if got == self.right else "other images"


def _encoded(suffix: str) -> bytes:
    image = picture(99, 64)  # a smaller one does not fit JPEG 2000
    if suffix == ".gif":  # not every OpenCV writes it
        return bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")
    return encode(image, suffix)


class Archive(Kind):
    """A data set or a samples file as .npz, damaged in its bytes or built wrongly."""

    name, weight = "archives", 12

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        random_numbers = np.random.default_rng(0)
        images = random_numbers.integers(0, 256, (30, 28, 28), np.uint8)
        labels = np.arange(30) % 3
        arrays = {"x_train": images[:24], "y_train": labels[:24], "x_test": images[24:], "y_test": labels[24:]}
        jpegs = [encode(picture(i), ".jpg") for i in range(30)]
        self.own = {True: folder / "packed.npz", False: folder / "plain.npz", None: folder / "jpeg.npz"}
        self.arrays = arrays
        np.savez_compressed(self.own[True], **arrays, class_names=np.array(["a", "b", "c"]))
        np.savez(self.own[False], **arrays)
        np.savez(
            self.own[None],
            **_jpegs(jpegs[:24], "train"),
            **_jpegs(jpegs[24:], "test"),
            y_train=labels[:24],
            y_test=labels[24:],
        )
        self.right = {key: images_of(load_dataset("own", path)) for key, path in self.own.items()}
        self.samples = folder / "samples.npz"
        save_samples(self.samples, Samples({CLEAN: images[:, None], "fgsm": images[::-1, None]}, labels))
        self.right_samples = self._samples(self.samples)
        self.right_filmed = [labels.tobytes(), images[:, None].tobytes()]

    def attempt(self, draw: random.Random) -> str:
        path = self.folder / "case.npz"
        remove(path)
        if draw.random() < 0.25:
            self._spoil(path, self.samples, draw)
            if draw.random() < 0.3:
                filmed = synthetic.load_samples(path)
                assert [filmed.labels.tobytes(), filmed.images.tobytes()] == self.right_filmed, (
                    "other digits are filmed"
                )
            else:
                assert self._samples(path) == self.right_samples, "other samples, though a .npz has checksums"
            return RIGHT
        if draw.random() < 0.25:
            arrays = dict(self.arrays)
            for _ in range(draw.randint(1, 2)):
                name = draw.choice(sorted(arrays))
                arrays[name] = draw.choice(WRONG_ARRAYS)(self.arrays[name])
            np.savez(path, **arrays)
            load_dataset("own", path)
            return "other images"
        key = draw.choice((True, False, None))
        self._spoil(path, self.own[key], draw)
        assert images_of(load_dataset("own", path)) == self.right[key], "other images, though a .npz has checksums"
        return RIGHT

    @staticmethod
    def _spoil(path: Path, sound: Path, draw: random.Random) -> None:
        if draw.random() < 0.12:
            replaced(path, draw, sound)
        else:
            path.write_bytes(damaged(sound.read_bytes(), draw))

    @staticmethod
    def _samples(path: Path) -> list[bytes]:
        samples = load_samples(path, ImageContract(1, 28, 28), 3)
        return [samples.labels.tobytes(), *(name.encode() + array.tobytes() for name, array in samples.sets.items())]


def _jpegs(files: list[bytes], split: str) -> dict[str, np.ndarray]:
    offsets = np.cumsum([0, *map(len, files)])
    return {f"x_{split}_jpeg": np.frombuffer(b"".join(files), np.uint8), f"x_{split}_offsets": offsets}


WRONG_ARRAYS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda a: a[:0],
    lambda a: a[:-1],
    lambda a: a[..., None],
    lambda a: a.reshape(-1),
    lambda a: np.full(a.shape, np.nan),
    lambda a: a.astype(">i8"),
    lambda a: a.astype(np.int64) - 1,
    lambda a: a.astype(str),
    lambda a: a.astype(bytes),
    lambda a: a.astype(complex),
    lambda a: np.array(1),
    lambda a: np.array(["2020-01-01"], "M8[D]"),
    lambda a: a.astype(np.uint64) + np.uint64(1 << 63),
    lambda a: np.zeros(3, [("a", int), ("b", float)]),
    lambda a: np.full_like(a, a.flat[0]),
    lambda a: np.broadcast_to(a, (2, *a.shape)),
    lambda a: np.zeros((0, 28, 28), np.uint8),
)


class WeightsFile(Kind):
    """Weights for the exporter, damaged in their bytes, header or tensors."""

    name, weight = "weights", 8

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.weights = random_weights(classes=2)
        self.sound, self.case = save_weights(folder / "sound.safetensors", self.weights), folder / "case.safetensors"
        self.data = self.sound.read_bytes()
        self.header = self.data[8 : 8 + int.from_bytes(self.data[:8], "little")]

    def attempt(self, draw: random.Random) -> str:
        remove(self.case)
        kind = draw.randrange(4)
        if kind == 0:
            replaced(self.case, draw, self.sound)
        elif kind == 1:  # in the header that says what the tensors are
            self.case.write_bytes(self._with_header(damaged(self.header, draw)))
        elif kind == 2:
            document = json.loads(self.header)
            ours = json.loads(header(self.weights)["puvae"])
            document["__metadata__"]["puvae"] = mutated(ours, draw).decode("utf-8", "replace")
            text = json.dumps(document).encode()
            self.case.write_bytes(
                len(text).to_bytes(8, "little") + text + self.data[8 + int.from_bytes(self.data[:8], "little") :]
            )
        else:
            self.case.write_bytes(damaged(self.data, draw))
        got = load_weights(self.case)
        assert all(np.isfinite(tensor).all() for tensor in got.tensors.values()), "weights that are no numbers"
        return RIGHT if _same(got, self.weights) else "other weights"

    def _with_header(self, header: bytes) -> bytes:
        return len(header).to_bytes(8, "little") + header + self.data[8 + len(self.header) :]


def _same(a: Weights, b: Weights) -> bool:
    return a.tensors.keys() == b.tensors.keys() and all(np.array_equal(v, b.tensors[k]) for k, v in a.tensors.items())


class Documents(Kind):
    """Every JSON document that is read, damaged."""

    name, weight = "documents", 10

    def attempt(self, draw: random.Random) -> str:
        kind = DOCUMENTS[draw.choice(sorted(DOCUMENTS))]
        path = self.folder / kind.file
        remove(path)
        if kind.in_a_file and draw.random() < 0.1:
            sound = self.folder / "sound"
            sound.write_text(json.dumps(kind.document))
            replaced(path, draw, sound)
        else:
            path.write_bytes(mutated(kind.document, draw))
        kind.read(path)
        return "read"


class Video(NamedTuple):
    """A clip and the frames that it holds."""

    path: Path
    data: bytes


class Videos(Kind):
    """A damaged video file: its frames up to the damage, then an error; or all of them."""

    name, weight = "videos", 3
    FRAMES = 12

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clips = [
            self._clip(folder / name, codec)
            for name, codec in (("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "MJPG"))
        ]

    def _clip(self, path: Path, codec: str) -> Video:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, (64, 48))
        for index in range(self.FRAMES):
            writer.write(np.ascontiguousarray(np.roll(picture(1, 64)[:48], index, axis=1)))
        writer.release()
        return Video(path, path.read_bytes())

    def attempt(self, draw: random.Random) -> str:
        clip = draw.choice(self.clips)
        path = self.folder / f"case{clip.path.suffix}"
        remove(path)
        if draw.random() < 0.2:
            replaced(path, draw, clip.path)
        else:
            path.write_bytes(damaged(clip.data, draw))
        source = FileSource(path)
        try:
            frames = [frame.image for frame in source]
        finally:
            source.close()
        assert all(f.ndim == 3 and f.dtype == np.uint8 for f in frames), "no frames"
        return RIGHT if len(frames) == self.FRAMES else "fewer or more frames"
