"""What the device may still be using, kept alive until its work is done."""

from __future__ import annotations

from collections import deque
from typing import Any

from puvae_rt.device import Device, Event, Stream


class InFlight:
    """Things that work of one stream uses. Nothing here waits: what is done is let go at the next call."""

    def __init__(self, device: Device, stream: Stream) -> None:
        self._device, self._stream = device, stream
        self._kept: deque[tuple[Event, Any]] = deque()  # in stream order
        self._spare: list[Event] = []

    def keep(self, thing: Any) -> None:
        """`thing` stays until all work enqueued so far is done."""
        self.let_go()
        event = self._spare.pop() if self._spare else self._device.event()
        event.record(self._stream)
        self._kept.append((event, thing))

    def let_go(self) -> None:
        """Drops what is no longer used."""
        while self._kept and self._kept[0][0].done():
            self._spare.append(self._kept.popleft()[0])

    def close(self) -> None:
        """Drops everything: the stream's work is done."""
        events = [event for event, _ in self._kept] + self._spare
        self._kept.clear()
        self._spare.clear()
        for event in events:
            event.close()
