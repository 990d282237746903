"""Standard streams that may be closed, full, or without a reader: what is written to them never breaks the work."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from puvae_rt.cli.codes import GOOD, WRONG_USE


def prepare() -> None:
    """Make every standard stream one that can be written to, whatever it is and whatever the text holds."""
    for descriptor in (0, 1, 2):
        _occupy(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # as sys.stdout is: never closed
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the C locale, names that are no UTF-8
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr = io.TextIOWrapper(_Forgiving(), encoding, "backslashreplace", line_buffering=True, write_through=True)


def write(text: str) -> int:
    """Print a line or more; the exit code: 2 where they cannot be written, and 0 where their reader has left."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        give_up()
    except OSError as error:
        give_up()
        return lost(error)
    return GOOD


def lost(error: OSError) -> int:
    """Say that standard output cannot be written; the exit code."""
    print(f"error: standard output: {error.strerror}; what was to be printed is lost", file=sys.stderr)
    return WRONG_USE


def flush() -> OSError | None:
    """Write what standard output still holds; the error when it cannot, and None when its reader has left."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        give_up()
    except OSError as error:
        give_up()
        return error
    return None


def give_up() -> None:
    """Drop what standard output still holds: Python tries once more at exit and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class _Forgiving(io.RawIOBase):
    """Standard error; what it does not take is dropped: nobody is left who could be told."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def isatty(self) -> bool:
        return os.isatty(2)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                rest = rest[os.write(2, rest) :]
        except OSError:
            pass
        return size


def _occupy(descriptor: int) -> None:
    """Put something in the place of a closed stream, or the next file opened takes its number and what is printed.

    Opened to be read, so that writing fails, as it does to a closed one.
    """
    try:
        os.fstat(descriptor)
    except OSError:
        got = os.open(os.devnull, os.O_RDONLY)
        if got != descriptor:
            os.dup2(got, descriptor)
            os.close(got)
        os.set_inheritable(descriptor, True)
