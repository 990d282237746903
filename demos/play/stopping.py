"""An orderly end: signals that ask for one, and readers that cannot be waited for."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(BaseException):
    """A signal came while something was waited for; an error handler must not take it for an error."""


class Stop:
    """Within a `with` block, the first signal asks for an orderly end; a second one is not held back.

    Attributes:
        code: the exit code: 0, or 128 + the signal that came (130 for Ctrl-C, 143 for SIGTERM).
    """

    def __init__(self) -> None:
        self.code = 0
        self._waiting = False

    def __enter__(self) -> Stop:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:  # as of nohup
                signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise Stopped on a signal at once, or where one came before: nothing in this block needs to be finished."""
        self._waiting = True
        try:
            if self.code:
                raise Stopped
            yield
        finally:
            self._waiting = False

    def until_stopped(self, items: Iterable[T]) -> Iterator[T]:
        """`items` up to a signal, which need not wait for the next one."""
        iterator = iter(items)
        while True:
            try:
                with self.waiting():
                    item = next(iterator)
            except (StopIteration, Stopped):
                return
            yield item

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.code = 128 + number
        signal.signal(number, self._before[signal.Signals(number)])
        if self._waiting:
            raise Stopped


def leave_at_exit(code: int) -> None:
    """Leave at Python's end without waiting for a reader that still hangs in OpenCV."""

    def leave() -> None:
        from puvae_rt.video.live import still_reading

        if still_reading():
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)

    atexit.register(leave)
