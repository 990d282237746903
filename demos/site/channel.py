"""From the one thread that plays to all who look: the latest message alone, whatever their speed."""

from __future__ import annotations

import asyncio
import threading


class Channel:
    """One place with the latest message. Nothing waits in line: who is slow finds a later message, and skips some.

    `publish` may be called from any thread; everything else belongs to the thread of the loop.

    Attributes:
        number: how many messages there were.
        watched: how many look at present.
    """

    def __init__(self) -> None:
        self.number, self.watched = 0, 0
        self._message = b""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    def open(self) -> None:
        """Ties the channel to the running loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Messages are kept from here on, and nobody is woken."""
        self._loop = None

    def publish(self, message: bytes) -> None:
        """Puts a message in the place of the one before."""
        with self._lock:
            self._message, self.number = message, self.number + 1
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    async def after(self, number: int) -> tuple[int, bytes]:
        """The latest message and its number, once there is one later than `number`."""
        while True:
            news = self._news
            with self._lock:
                if self.number > number:
                    return self.number, self._message
            await news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
