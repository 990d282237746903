"""What one visitor may ask for: how much, how often."""

from __future__ import annotations

import time

MAX_MESSAGE = 1 << 20  # bytes of a WebSocket message: a camera's frame of 640 pixels takes 60,000
MAX_SIDE = 1280  # pixels of a frame that comes from a browser
FRAMES_A_SECOND = 30.0  # from one browser
IN_FLIGHT = 2  # frames on their way to a page that has not shown them yet
SEND_SECONDS = 10.0  # after which one that takes nothing is let go
SIGN_INS_A_SECOND, SIGN_INS_AT_ONCE = 0.5, 10.0
MAX_FORM = 4 << 10  # bytes of the sign-in form
MAX_HEADERS = 16 << 10  # bytes
MAX_SOCKETS_BESIDES = 32  # connections for files, above those of the visitors


class Bucket:
    """A rate, as a bucket of tokens.

    Args:
        rate: tokens a second.
        size: tokens that it holds, and begins with.
    """

    def __init__(self, rate: float, size: float) -> None:
        self._rate, self._size, self._level = rate, size, size
        self._at = time.monotonic()

    def delay(self) -> float:
        """Takes a token; the seconds to wait until it is due, 0 where it is there."""
        now = time.monotonic()
        self._level = min(self._size, self._level + self._rate * (now - self._at)) - 1
        self._at = now
        return max(0.0, -self._level / self._rate)

    def take(self) -> bool:
        """Whether there was a token to take; where not, nothing changes."""
        if self.delay() == 0:
            return True
        self._level += 1
        return False
