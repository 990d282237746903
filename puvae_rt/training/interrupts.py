"""Signals that wait until a training step is done, so that it can be kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Held:
    """What came meanwhile.

    Attributes:
        number: of the first signal, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None


@contextmanager
def signals_held() -> Iterator[Held]:
    """Within the block SIGINT, SIGTERM and SIGHUP are only noted; behind it the first one has its usual effect.

    A second signal has its effect at once. Signals that are ignored stay so, and outside of the main thread, which
    alone receives signals in Python, nothing changes.
    """
    held = Held()
    if threading.current_thread() is not threading.main_thread():
        yield held
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    mine = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def restore() -> None:
        for number in mine:
            signal.signal(number, before[number])

    def note(number: int, _: FrameType | None) -> None:
        held.number = number
        restore()

    for number in mine:
        signal.signal(number, note)
    try:
        yield held
    finally:
        restore()
    if held.number is not None:
        signal.raise_signal(held.number)
