"""Hostile input by kinds: every case ends in a right result or in an error of ours, within seconds, and leaves nothing.

A case is made of its seed, its kind and its number, and can be made again from them.
"""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import signal
import tempfile
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from puvae_rt.errors import PuvaeError

SECONDS = 20.0  # of a case; a busy machine needs one
CRASH_SECONDS = 120.0  # of a case that does not even take signals: the process ends with a traceback
MEMORY = 16 << 30  # bytes of addresses: what asks for more fails, rather than the machine
LONGEST = 6000  # characters of a message; a path alone may have 4,096
RIGHT = "right"


class Kind(ABC):
    """One kind of hostile input, with the sound thing that it is made of.

    Attributes:
        name: of the kind.
        weight: of its share of all cases.
        folder: its own; what is found there after a case and was not before counts as left behind.
    """

    name: str
    weight: float

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def attempt(self, draw: random.Random) -> str:
        """Makes one hostile input and uses it.

        Args:
            draw: all of its chance.
        Returns:
            What came of it, RIGHT when the result was the one of sound input.
        Raises:
            PuvaeError: as it should.
            AssertionError: a wrong result.
        """

    def left_behind(self) -> list[Path]:
        """What a case should have removed: scratch folders, in `folder` and in the caches below it."""
        found = [Path(parent, name) for parent, folders, files in os.walk(self.folder) for name in (*folders, *files)]
        return [path for path in found if path.name.startswith(".puvae-") or path.suffix == ".part"]


class Failure(NamedTuple):
    """A case that ended otherwise."""

    case: str
    problem: str


class Hang(BaseException):
    """A case that took longer than SECONDS."""


def run(kind: Kind, cases: int, seed: int, stop_at: float = float("inf")) -> tuple[Counter[str], list[Failure]]:
    """Outcomes of the cases, and those that should not have been; no case begins after `stop_at` (monotonic)."""
    outcomes: Counter[str] = Counter()
    failures: list[Failure] = []
    threads, files = threading.active_count(), _open_files()
    for number in range(cases):
        if time.monotonic() > stop_at:
            break
        case = f"{seed} {kind.name} {number}"
        outcome, problem = _outcome(kind, random.Random(case))
        outcomes[outcome] += 1
        if problem:
            failures.append(Failure(case, problem))
    if (more := _open_files() - files) > 8:
        failures.append(Failure(kind.name, f"{more} more open files than before"))
    if (more := threading.active_count() - threads) > 2:
        failures.append(Failure(kind.name, f"{more} more threads than before"))
    return outcomes, failures


def _outcome(kind: Kind, draw: random.Random) -> tuple[str, str]:
    """What came of a case, and what is wrong with that."""
    problem = ""
    try:
        with _limited():
            outcome = kind.attempt(draw)
    except PuvaeError as error:
        outcome, problem = type(error).__name__, _fault_of_message(str(error))
    except Hang:
        outcome, problem = "hang", traceback.format_exc()
    except Exception as error:
        outcome, problem = f"untyped {type(error).__name__}", traceback.format_exc()
    if left := kind.left_behind():
        problem = f"{problem}; left behind: {left[:3]}"
    return outcome, problem


def _fault_of_message(message: str) -> str:
    if not message or len(message) > LONGEST:
        return f"a message of {len(message)} characters: {message[:200]!r}"
    return "" if message.replace("\n", "").isprintable() else f"not printable: {message!r}"


@contextmanager
def _limited() -> Iterator[None]:
    def hang(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(CRASH_SECONDS, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@contextmanager
def own_folders() -> Iterator[Path]:
    """A folder for everything, the user's cache and the temporary files included; and no more memory than MEMORY."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, limits[1]))
    try:
        with _own_folders() as folder:
            yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@contextmanager
def _own_folders() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="puvae-hostile-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        changed = {"PUVAE_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
        before = {key: os.environ.get(key) for key in changed}
        os.environ.update(changed)
        tempfile.tempdir = None
        try:
            yield folder
        finally:
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})
            tempfile.tempdir = None
