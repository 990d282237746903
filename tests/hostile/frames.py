"""Hostile batches, camera frames and regions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from puvae_rt import Purifier
from puvae_rt.runtime.preprocess import as_input
from tests.hostile.harness import RIGHT, Kind
from tests.runtime import toy

TYPES = ("uint8", "float32", "float64", "int8", "int32", "int64", "bool", "float16", "complex64", "object", "U3")
NUMBERS = (0, 1, -1, 2, 27, 28, 29, 100, 8191, 1 << 15, (1 << 31) - 1, -(1 << 31), 1 << 40, 10**30, 10**5000, -5)
NO_NUMBERS = (None, 1.5, float("nan"), float("inf"), "3", True, [1], np.float32(3), np.int8(-7), np.uint64(1 << 63))


class Frames(Kind):
    """A frame or a batch of any type and shape, with any region: refused, or what its plain copy gives."""

    name, weight = "frames", 18

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.purifiers = {
            contract: Purifier.load(toy.save_bundle(folder / f"c{contract.channels}", contract), threads=1)
            for contract in (toy.GRAY, toy.COLOR)
        }

    def attempt(self, draw: random.Random) -> str:
        contract = draw.choice((toy.GRAY, toy.COLOR))
        purifier = self.purifiers[contract]
        if draw.random() < 0.35:
            return self._batch(purifier, draw)
        frame, roi = _frame(draw), _roi(draw)
        result = purifier(frame, roi)
        plain = np.array(frame, np.uint8, order="C", copy=True)
        x, y, w, h = (0, 0, plain.shape[1], plain.shape[0]) if roi is None else (int(v) for v in roi)
        rows, columns = (
            np.arange(a, a + n).clip(0, s - 1) for a, n, s in ((y, h, plain.shape[0]), (x, w, plain.shape[1]))
        )
        if w * h > 1 << 22:
            return "too large to be checked"
        rows, columns = (
            np.arange(a, a + n).clip(0, s - 1) for a, n, s in zip((y, x), (h, w), plain.shape[:2], strict=True)
        )
        want = purifier.purify(as_input(np.ascontiguousarray(plain[rows][:, columns]), None, contract))
        assert np.array_equal(result.image, want.images[0]), "another image than of the region cut by hand"
        assert np.array_equal(result.rmse, want.rmse[0]) and result.projected == want.projected[0]
        return RIGHT

    @staticmethod
    def _batch(purifier: Purifier, draw: random.Random) -> str:
        images = _images(draw, purifier.contract.shape)
        result = purifier.purify(images)
        array = np.asarray(images)
        unit = array.astype(np.float32) / 255 if array.dtype == np.uint8 else array
        c, h, w = purifier.contract.shape
        planes = unit.transpose(0, 3, 1, 2) if unit.shape[1:] == (h, w, c) != (c, h, w) else unit.reshape(-1, c, h, w)
        want = toy.candidates(planes, purifier.contract)
        got = want[np.arange(len(planes)), result.projected]
        assert len(result) == len(planes) and np.allclose(result.images, got, atol=1e-5), "another image than by hand"
        return RIGHT


def _frame(draw: random.Random) -> Any:
    if draw.random() < 0.08:
        return draw.choice((None, 5, "frame", b"bytes", [[1, 2], [3, 4]], object(), np.zeros(0, np.uint8), {}))
    sides = [
        draw.choice((0, 1, 2, 3, 5, 27, 28, 29, 64, 200)) if draw.random() < 0.4 else draw.randint(1, 120) for _ in "hw"
    ]
    shape = draw.choice(((), (), (3,), (3,), (3,), (1,), (4,), (0,), (3, 1)))
    generator = np.random.default_rng(draw.randrange(1 << 30))
    frame = generator.integers(0, 256, (*sides, *shape)).astype(np.uint8)
    kind = draw.randrange(8)
    if kind == 0:
        return frame.astype(draw.choice(TYPES))
    if kind == 1:
        return frame[::-1, ::-1]
    if kind == 2:
        return np.asfortranarray(frame)
    if kind == 3:
        return frame[::2, ::3]
    if kind == 4:
        frame.flags.writeable = False
        return frame
    if kind == 5:
        return np.broadcast_to(frame[:1, :1], frame.shape)
    if kind == 6 and frame.ndim >= 2:
        return frame.swapaxes(0, 1)
    return frame


def _roi(draw: random.Random) -> Any:
    kind = draw.randrange(10)
    if kind == 0:
        return None
    if kind <= 5:
        position, size = [draw.randint(-60, 120) for _ in "xy"], [draw.randint(1, 150) for _ in "wh"]
        kinds = (int, int, np.int16, np.int64)
        return tuple(draw.choice(kinds)(value) for value in (*position, *size))
    if kind <= 8:
        values = tuple(draw.choice(NUMBERS + NO_NUMBERS[: draw.choice((0, 10))]) for _ in range(4))
        return draw.choice((values, list(values)))
    return draw.choice(
        ((), (1, 2, 3), (1, 2, 3, 4, 5), "1234", b"1234", 7, {1: 2}, np.array([1, 2, 9, 9]), np.zeros((4, 0)))
    )


def _images(draw: random.Random, shape: tuple[int, int, int]) -> Any:
    c, h, w = shape
    forms = ((c, h, w), (h, w, c), (h, w), (w,), (), (c, h + 1, w), (h, c, w), (1, c, h, w))
    count = draw.choice((0, 1, 1, 2, 3, 9))
    size = (count, *draw.choice(forms if draw.random() < 0.4 else forms[:2]))
    images = np.random.default_rng(draw.randrange(1 << 30)).random(size, np.float32)
    kind = draw.randrange(8)
    if kind == 0:
        return (images * 255).astype(draw.choice(TYPES))
    if kind == 1 and images.size:
        flat = images.reshape(-1)
        flat[draw.randrange(images.size)] = draw.choice((np.nan, np.inf, -np.inf, 1.0001, -1e-7, 1e30))
        return images
    if kind == 2:
        return (images * 255).astype(np.uint8)
    if kind == 3:
        return np.asfortranarray(images)
    if kind == 4:
        return images[::-1]
    if kind == 5:
        return draw.choice(
            (None, 1, "x", images.tolist(), [images[:1].tolist(), [1]], list(images), memoryview(images))
        )
    return images
