"""SIGINT, SIGTERM and SIGHUP end a command as an exception, so that what it has begun is cleaned up."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
GRACE_SECONDS = 1.0  # in which a signal that comes again is the same wish: a terminal and its shell both send SIGHUP
LOST_SECONDS = 0.05
SIGNALLED = 128  # exit code of a process that signal number N ended: 128 + N, as shells have it


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by one of the signals.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


_received: tuple[int, float] | None = None


def install() -> None:
    """Make the signals raise Stopped; those that were ignored (nohup, a shell's background job) stay so."""
    for name in WORDS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _unraisable


def uninstall() -> None:
    """Let the signals end the process at once: everything is cleaned up."""
    for name in WORDS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def received() -> int | None:
    """The number of the signal that has come, or None."""
    return None if _received is None else _received[0]


def ending(error: BaseException) -> tuple[str, int] | None:
    """The word and the exit code of a command that a signal ended; None where `error` has another cause.

    What is raised behind a signal is its consequence: an import that Ctrl-C breaks off may well be an ImportError.
    """
    number = received()
    if number is None:
        if not isinstance(error, KeyboardInterrupt):
            return None
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
    return WORDS[signal.Signals(number).name], SIGNALLED + number


def _stop(number: int, _: object) -> None:
    global _received
    now = time.monotonic()
    if _received is None:
        _received = (number, now)
        raise Stopped(number)
    if now - _received[1] > GRACE_SECONDS:  # somebody is tired of waiting for the cleaning up
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _unraisable(told: Any) -> None:
    """Raises the signal again a moment later when it came inside a destructor, where exceptions are lost."""
    global _received
    if not isinstance(told.exc_value, Stopped):
        sys.__unraisablehook__(told)
        return
    import threading

    _received = None
    threading.Timer(LOST_SECONDS, os.kill, (os.getpid(), told.exc_value.number)).start()
