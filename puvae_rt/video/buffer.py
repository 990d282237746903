"""Between the thread that reads a source and the one that takes its frames."""

from __future__ import annotations

import threading
from collections import Counter, deque

from puvae_rt.video.events import Event
from puvae_rt.video.frames import Frame
from puvae_rt.video.policy import Policy

_MAX_EVENTS = 256  # that wait to be taken; `counts` has all


class FrameBuffer:
    """Frames and events in their order, bounded by the policy; every method may be called from any thread.

    Attributes:
        read: frames that were put in.
        dropped: frames that went by unseen.
        counts: events so far, by kind.
    """

    def __init__(self, policy: Policy) -> None:
        self.read, self.dropped, self.counts = 0, 0, Counter[str]()
        self._policy = policy
        self._changed = threading.Condition()
        self._items: deque[Frame | Event] = deque()
        self._frames = self._events = 0
        self._end: BaseException | None = None
        self._ended = self._closed = False

    def put(self, frame: Frame) -> bool:
        """Adds a frame, making or awaiting room for it; False once the buffer is closed."""
        with self._changed:
            if self._policy.waits:
                self._changed.wait_for(lambda: self._closed or self._frames < self._policy.size)
            elif self._frames >= self._policy.size:
                self._forget(Frame)
                self._frames -= 1
                self.dropped += 1
            if self._closed:
                return False
            self._items.append(frame)
            self._frames += 1
            self.read += 1
            self._changed.notify_all()
            return True

    def note(self, event: Event) -> None:
        """Adds an event; of those that nobody takes, the oldest go."""
        with self._changed:
            self.counts[event.kind.value] += 1
            if self._events >= _MAX_EVENTS:
                self._forget(Event)
                self._events -= 1
            self._items.append(event)
            self._events += 1
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """Says that nothing comes after what is there; whoever takes on has `error`, or learns of the end."""
        with self._changed:
            self._end, self._ended = error, True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Whether there is a frame, or the end, within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._frames) or self._ended, seconds)

    def raise_if_dead(self) -> None:
        """Raises what ended the source before its first frame."""
        with self._changed:
            if self._ended and not self._frames and self._end is not None:
                raise self._end

    def take(self, seconds: float) -> Frame | Event | None:
        """The oldest item, None at the end.

        Raises:
            TimeoutError: nothing came within `seconds`.
            Exception: the one that ended the source, once everything before it is taken.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items) or self._ended, seconds):
                raise TimeoutError
            if not self._items:
                if self._end is not None:
                    raise self._end
                return None
            item = self._items.popleft()
            if isinstance(item, Frame):
                self._frames -= 1
            else:
                self._events -= 1
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Lets a reader go that waits for room; frames that nobody took are dropped."""
        with self._changed:
            self._closed = True
            self.dropped += self._frames
            self._frames = self._events = 0
            self._items.clear()
            self._changed.notify_all()

    def _forget(self, kind: type[Frame] | type[Event]) -> None:
        """Drops the oldest of a kind; there is one."""
        self._items.remove(next(item for item in self._items if isinstance(item, kind)))
