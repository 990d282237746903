from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from puvae_rt.purify import PurifyBatch
from tests.runtime import toy

BATCH = 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return toy.save_bundle(tmp_path / "bundle")


@pytest.fixture
def batch(bundle: Path) -> PurifyBatch:
    return PurifyBatch(bundle, batch=BATCH, threads=1)


@pytest.fixture
def pixels() -> np.ndarray:
    """uint8 [10,28,28]."""
    return np.random.default_rng(0).integers(0, 256, (10, 28, 28), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray) -> Path:
    """The pixels as PNG files in two folders."""
    for number, image in enumerate(pixels):
        path = tmp_path / "in" / ("a" if number < 5 else "b") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return tmp_path / "in"
