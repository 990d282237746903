"""Which frames a consumer sees that is slower than its source."""

from __future__ import annotations

from dataclasses import dataclass

from puvae_rt.errors import VideoError

_MAX_QUEUE = 1024  # frames: a second of the fastest camera, gigabytes of a large one
_EVERY_AHEAD = 8  # frames that a reader which loses none may be ahead
_EXPECTED = f"expected latest, queue=N with N from 1 to {_MAX_QUEUE}, or every"


@dataclass(frozen=True)
class Policy:
    """`latest` keeps the newest frame alone, `queue=N` the newest N, `every` loses none and lets the source wait.

    Attributes:
        size: frames that wait at most.
        waits: whether the reader waits for room, instead of dropping the oldest.
    """

    size: int = 1
    waits: bool = False

    @classmethod
    def parse(cls, text: str) -> Policy:
        """`latest`, `queue=N` or `every`; VideoError for anything else."""
        name, _, number = text.partition("=")
        if text == "latest":
            return LATEST
        if text == "every":
            return EVERY
        if (
            name == "queue"
            and number.isascii()
            and number.isdecimal()
            and len(number) < 6
            and 1 <= int(number) <= _MAX_QUEUE
        ):
            return cls(int(number))
        raise VideoError(f"policy {text[:40]!r}: {_EXPECTED}")

    def __str__(self) -> str:
        if self.waits:
            return "every"
        return "latest" if self.size == 1 else f"queue={self.size}"


LATEST, EVERY = Policy(), Policy(_EVERY_AHEAD, waits=True)
