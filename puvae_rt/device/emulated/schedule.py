"""Streams as queues whose heads run in a random, seeded, legal order.

Work runs when the host waits for it, and now and then in between: a consumer that does not wait for its producer by
an event or a synchronisation reads what is not there yet, for most seeds.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from puvae_rt.device.status import failure
from puvae_rt.errors import DeviceError

_EAGERNESS = 0.5  # chance that the device runs one more operation when the host enqueues another


@dataclass
class Point:
    """An event's state: how often it was recorded, and how many of these records have been reached."""

    recorded: int = 0
    reached: int = 0


@dataclass(frozen=True)
class Operation:
    """A piece of work in a queue."""

    name: str
    action: Callable[[], None]
    after: tuple[Point, int] | None = None  # runs once the point has been reached that often

    @property
    def ready(self) -> bool:
        """Whether nothing that it waits for is outstanding."""
        return self.after is None or self.after[0].reached >= self.after[1]


@dataclass(eq=False)
class Capture:
    """What a capturing stream collects instead of running."""

    thread: int
    operations: list[Callable[[], Operation]] = field(default_factory=list)
    broken: str | None = None  # the first thing done that CUDA refuses


@dataclass(eq=False)
class Queue:
    """A stream's state; it outlives the stream until it is empty."""

    pending: deque[Operation] = field(default_factory=deque)
    capture: Capture | None = None


class Schedule:
    """All queues of one device."""

    def __init__(self, seed: int) -> None:
        self.lock = threading.RLock()
        self._random = random.Random(seed)
        self._queues: list[Queue] = []
        self._fault: DeviceError | None = None

    def add(self) -> Queue:
        """A new, empty queue."""
        with self.lock:
            self._queues.append(Queue())
            return self._queues[-1]

    def remove(self, queue: Queue) -> None:
        """Work of a destroyed stream still runs."""
        with self.lock:
            self.drain_until(lambda: not queue.pending)
            self._queues.remove(queue)

    def enqueue(self, queue: Queue, operation: Callable[[], Operation]) -> None:
        """`operation` makes the work: at once, or at each replay of the graph that captures it."""
        with self.lock:
            self.check()
            if queue.capture is not None:
                queue.capture.operations.append(operation)
                return
            queue.pending.append(operation())
            while self._random.random() < _EAGERNESS and self._step():
                pass

    def drain(self, queues: list[Queue] | None = None) -> None:
        """Runs until `queues`, or all, are empty."""
        with self.lock:
            self.drain_until(lambda: not any(queue.pending for queue in queues or self._queues))
            self.check()

    def drain_until(self, done: Callable[[], bool]) -> None:
        """Runs work of any queue until `done`, or until none can go on."""
        while not done() and self._step():
            pass

    @property
    def lost(self) -> bool:
        """Whether earlier work failed: the device is lost."""
        return self._fault is not None

    def check(self) -> None:
        """A fault of earlier work is reported by every later call, as CUDA does."""
        if self._fault is not None:
            raise self._fault

    def _step(self) -> bool:
        """One operation, of any stream that can go on."""
        ready = [queue for queue in self._queues if queue.pending and queue.pending[0].ready]
        if not ready or self._fault is not None:
            return False
        operation = self._random.choice(ready).pending.popleft()
        try:
            operation.action()
        except DeviceError as error:
            self._fault = error
        except Exception as error:  # a faulty kernel, an engine that fails: the device is lost either way
            self._fault = failure(operation.name, "CUDA_ERROR_LAUNCH_FAILED", str(error))
            self._fault.__cause__ = error
        return True
