"""Small folder trees of images, made anew for each test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def picture(seed: int, side: int = 28) -> NDArray[np.uint8]:
    """A light disc somewhere on black, gray [side,side,3]."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side, 3), np.uint8)
    x, y = rng.integers(6, side - 6, 2).tolist()
    return np.asarray(cv2.circle(image, (x, y), 5, (255, 255, 255), -1), dtype=np.uint8)


def encode(image: NDArray[np.generic], suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def tree(root: Path, classes: Sequence[str] = ("a", "b", "c"), train: int = 12, test: int = 4) -> Path:
    """root/{train,test}/CLASS/NNN.png, all different; returns `root`."""
    seed = 0
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i:03d}.png").write_bytes(encode(picture(seed := seed + 1)))
    return root
