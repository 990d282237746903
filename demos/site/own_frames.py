"""Frames that a browser sends of its own: decoded with care, purified one after the other in a thread of their own."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from demos.play.defense import Attack, Defense
from demos.play.digits import find_digit
from demos.site import messages
from demos.site.limits import MAX_SIDE
from demos.site.meters import Meters
from demos.site.tuning import Tuning
from puvae_rt.data.headers import read_header
from puvae_rt.errors import InputError, VideoError
from puvae_rt.video.frames import Pixels
from puvae_rt.video.jpeg import decode_jpeg

_NAME = "frame"


class OwnFrames:
    """Purifies frames of visitors, each with the visitor's own settings.

    Args:
        shared: the stream's defense, whose purifier and detector serve here as well.
        attack: its own; the settings choose its name and epsilon.
        meters: they count every frame.
    """

    def __init__(self, shared: Defense, attack: Attack, meters: Meters) -> None:
        self._defense, self._attack, self._meters = Defense(shared.purifier), attack, meters
        self._defense.detector = shared.detector
        self._pool = ThreadPoolExecutor(1, "own frames")

    async def answer(self, data: bytes, tuning: Tuning) -> bytes:
        """What was made of a JPEG, as the page is told it; InputError for anything else."""
        started = time.monotonic()
        told = await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, data, tuning)
        self._meters.own_frame(time.monotonic() - started)
        return told

    def close(self) -> None:
        """Ends the thread; a frame under way is waited for."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> OwnFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, data: bytes, tuning: Tuning) -> bytes:
        started, image = time.monotonic(), decoded(data)
        digit = find_digit(image)
        tuning.apply(self._defense, self._attack)
        outcome = None if digit is None else self._defense(digit.image, None)
        told = messages.seen(image, digit, outcome, self._defense.purifier.classes)
        return messages.packed(told | {"truth": None, "tuning": tuning, "ms": 1e3 * (time.monotonic() - started)})


def decoded(data: bytes) -> Pixels:
    """BGR [H,W,3] of a whole JPEG of at most `MAX_SIDE` pixels a side; InputError for anything else."""
    try:
        header = read_header(data)
        if max(header.width, header.height) > MAX_SIDE:
            raise InputError(f"{_NAME}: got {header.width}x{header.height} pixels, expected sides of up to {MAX_SIDE}")
        return np.ascontiguousarray(decode_jpeg(data, _NAME))
    except (ValueError, VideoError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{_NAME}: {error}; send a JPEG") from error
