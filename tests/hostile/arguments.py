"""Hostile arguments: of `Purifier.load`, and of what a video may come from."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np

from puvae_rt import Purifier
from puvae_rt.errors import VideoError
from puvae_rt.video.sources import open_source
from tests.hostile.bundles import answer, same
from tests.hostile.harness import RIGHT, Kind
from tests.hostile.mutations import WRONG
from tests.runtime import toy

OTHERS: tuple[Any, ...] = (
    b"mnist",
    1 + 2j,
    object(),
    np.float32(1),
    np.array([1]),
    Path(),
    Path("a\0b"),
    10**5000,
    -(10**5000),
)
TARGETS = ("cpu", "rtx", "tensorrt", "CPU", "cpu ", "gpu", "auto")
DEVICES = ("cuda", "cuda:0", "cuda:-1", "cuda:99", "pycuda:x", "emulated", "emulated:1", "cpu", ":", "cuda:0:0")
THREADS = (1, 2, "auto", "AUTO", -1, 0, 10**9, 1.0, True, np.int64(1))
CHOICES: dict[str, tuple[Any, ...]] = {
    "source": (),
    "target": TARGETS,
    "threads": THREADS,
    "classifier": (True,),
    "seed": (0, 1 << 40),
    "device": DEVICES,
}
SOURCES = (
    *("file:///etc/passwd", "concat:/etc/passwd|/etc/passwd", "data:,x", "subfile,,start,0,end,9,,:/etc/passwd"),
    *("pipe:0", "-", "%03d.png", "*.png", "http://", "rtsp://[", "udp://", "ftp://127.0.0.1/x", "://", "a://b"),
    *("http://127.0.0.1:1/x", "rtsp://u:p@127.0.0.1:1/x", "http://127.0.0.1:99999/", "256", "9" * 40, "٣", "~", "~/x"),
)


class Arguments(Kind):
    """Arguments of any type and value: refused, or the engine's own answer."""

    name, weight = "arguments", 6

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bundle = toy.save_bundle(folder / "sound")
        with Purifier.load(self.bundle, threads=1) as purifier:
            self.right = answer(purifier)

    def attempt(self, draw: random.Random) -> str:
        wrong = (*WRONG, *OTHERS)
        given: dict[str, Any] = {"source": draw.choice((self.bundle, str(self.bundle))), "threads": 1}
        for name in draw.sample(sorted(CHOICES), draw.choice((1, 1, 2))):
            given[name] = draw.choice((*wrong, *CHOICES[name] * 3))
        with Purifier.load(**given) as purifier:
            got = answer(purifier)
        assert same(got[:5], self.right[:5]), "another projection than with sound arguments"
        return RIGHT


class Sources(Kind):
    """Texts and things that are no video: refused, and never taken for a pattern, a pipe or another protocol."""

    name, weight = "sources", 3

    def attempt(self, draw: random.Random) -> str:
        what = draw.choice((*SOURCES, *SOURCES, *WRONG, *OTHERS))
        if isinstance(what, str) and draw.random() < 0.3:
            at = draw.randrange(len(what) + 1)
            what = what[:at] + draw.choice(("\0", "\ud800", "\n", "%s", "//", "\x1b[2J", "../")) + what[at:]
        source = open_source(what, self._synthetic)
        with contextlib.closing(source):
            raise AssertionError(f"{what!a} was opened")

    @staticmethod
    def _synthetic() -> Any:
        raise VideoError("synthetic: not asked for here")
