from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from puvae_rt import Purifier
from puvae_rt.errors import ContractError, VideoError
from puvae_rt.runtime.preprocess import as_input
from puvae_rt.stream.cameras import Cameras, Seen
from puvae_rt.video.frames import Frame


class Camera:
    """Frames of one gray level each, a moment apart; it may break off."""

    name, fps, dropped = "camera", 100.0, 0

    def __init__(self, frames: int, level: int, gap: float = 0.0, error: str = "") -> None:
        self.frames, self.level, self.gap, self.error, self.counts = frames, level, gap, error, {}
        self.go_on = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            yield Frame(np.full((28, 28, 3), self.level, np.uint8), index, captured=time.monotonic())
            if self.gap:
                time.sleep(self.gap)
        if self.error:
            raise VideoError(self.error)

    def close(self) -> None:
        self.go_on.set()


@pytest.fixture
def purifier(toy_bundle: Path) -> Iterator[Purifier]:
    with Purifier.load(toy_bundle, threads=1) as loaded:
        yield loaded


def test_each_camera_has_its_own_answers(purifier: Purifier) -> None:
    sources = {name: Camera(5, 40 * k, gap=0.02) for k, name in enumerate("abc")}
    with Cameras(sources, purifier) as cameras:
        seen = list(cameras)
    assert {each.camera for each in seen} == set("abc") and max(each.batch for each in seen) <= 3
    for each in seen:
        alone = purifier.purify(as_input(each.frame.image, None, purifier.contract))
        np.testing.assert_allclose(each.image, alone.images[0], atol=1e-6)
        assert (each.projected, each.label) == (int(alone.projected[0]), 3) and each.age_ms >= 0
    counts = Counter(each.camera for each in seen)
    assert all(counts[name] + cameras.dropped[name] == 5 for name in sources)


def test_a_fast_camera_leaves_nobody_out(purifier: Purifier) -> None:
    """Six cameras, two places: the flood of one does not push the others aside, and memory holds a frame of each."""
    sources = {name: Camera(400 if name == "a" else 6, 10, gap=0.001 if name == "a" else 0.03) for name in "abcdef"}
    order: list[Seen] = []
    with Cameras(sources, purifier, most=2) as cameras:
        for seen in cameras:
            order.append(seen)
            assert seen.batch <= 2 and len(cameras._waiting) <= 6
            time.sleep(0.002)
    counts = Counter(each.camera for each in order)
    assert min(counts[name] for name in "bcdef") >= 3
    assert counts["a"] + cameras.dropped["a"] == 400 and cameras.dropped["a"] > 0


def test_one_that_fails_does_not_stop_the_others(purifier: Purifier) -> None:
    sources = {"bad": Camera(1, 10, error="it broke"), "good": Camera(4, 20, gap=0.02)}
    with Cameras(sources, purifier) as cameras:
        counts = Counter(each.camera for each in cameras)
    assert counts["good"] >= 3 and str(cameras.errors["bad"]) == "it broke"


def test_mistakes(purifier: Purifier) -> None:
    with pytest.raises(ContractError, match="expected at least one"):
        Cameras({}, purifier)
