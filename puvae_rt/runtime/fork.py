"""What a child process made by a fork must not inherit: locks that a vanished thread holds, and sessions' threads."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object that tells what becomes of it in a child."""

    def after_fork(self) -> None:
        """Called in the child, before anything else runs in it."""


def register(thing: ForkAware) -> None:
    """Has `thing.after_fork` called in every child, for as long as `thing` lives."""
    _LIVE.add(thing)


_LIVE: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def _after_fork() -> None:
    for thing in list(_LIVE):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # absent on Windows, which cannot fork
    os.register_at_fork(after_in_child=_after_fork)
