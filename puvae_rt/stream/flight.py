"""A flight recorder: what was seen shortly before and after each alarm, within bounds of rate and size."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from puvae_rt.errors import ContractError, VideoError
from puvae_rt.video.frames import Frame
from puvae_rt.video.recording import Recorder

logger = logging.getLogger(__name__)

Noted = tuple[Frame, Mapping[str, Any]]
_CLOSE_SECONDS = 30.0


class FlightRecorder:
    """Keeps the latest frames in memory; an alarm writes them, and those that follow, into a file of its own.

    Writing happens in another thread, so no frame waits for the disk. An alarm during another one belongs to it.

    Args:
        folder: where alarm-0001.mcap and so on are written.
        source: the source's name; it is shown without secrets.
        before, after: frames kept around an alarm.
        per_minute: alarms that are written in any minute.
        most_bytes: of all files of this recorder together; alarms beyond it are not written.

    Raises:
        ModuleNotFoundError: the package `mcap` is not installed.

    Attributes:
        written, skipped: alarms.
        error: what went wrong while one was written.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        before: int = 30,
        after: int = 15,
        per_minute: int = 6,
        most_bytes: int = 256 << 20,
    ) -> None:
        import mcap.writer  # noqa: F401  # its absence is told now, not at the first alarm

        if min(before, per_minute, most_bytes) < 1 or after < 0:
            raise ContractError(
                f"before={before}, after={after}, per_minute={per_minute}, most_bytes={most_bytes}: expected numbers "
                "from 1 (after from 0)"
            )
        self.written = self.skipped = 0
        self.error: str | None = None
        self._folder, self._source, self._after = folder, source, after
        self._per_minute, self._most_bytes = per_minute, most_bytes
        self._latest: deque[Noted] = deque(maxlen=before + 1)
        self._alarm: list[Noted] | None = None
        self._left, self._bytes, self._closed = 0, 0, False
        self._times: deque[float] = deque(maxlen=per_minute)
        self._jobs: queue.Queue[list[Noted] | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._write_all, name="flight recorder", daemon=True)
        self._thread.start()

    def add(self, frame: Frame, note: Mapping[str, Any], alarm: bool) -> None:
        """A frame with its scores, choice and age; `alarm` begins a file, unless one has begun."""
        if self._alarm is not None:
            self._alarm.append((frame, note))
            self._left -= 1
            if self._left <= 0:
                self._hand_over()
            return
        self._latest.append((frame, note))
        if alarm:
            self._begin()

    def close(self) -> None:
        """Writes what has begun."""
        if self._closed:
            return
        self._closed = True
        if self._alarm is not None:
            self._hand_over()
        self._jobs.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def __enter__(self) -> FlightRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        now = time.monotonic()
        often = len(self._times) == self._per_minute and now - self._times[0] < 60
        if often or self.error is not None:
            self.skipped += 1
            return
        self._times.append(now)
        self._alarm, self._left = list(self._latest), self._after
        self._latest.clear()
        if self._left == 0:
            self._hand_over()

    def _hand_over(self) -> None:
        alarm, self._alarm = self._alarm, None
        try:
            self._jobs.put_nowait(alarm)
        except queue.Full:  # the disk is slower than alarms come
            self.skipped += 1

    def _write_all(self) -> None:
        while (alarm := self._jobs.get()) is not None:
            if self._bytes >= self._most_bytes:
                self.skipped += 1
                continue
            path = self._folder / f"alarm-{self.written + 1:04}.mcap"
            try:
                with Recorder(path, self._source) as recorder:
                    for frame, note in alarm:
                        recorder.write(frame, note)
                        if self._bytes + path.stat().st_size > self._most_bytes:
                            break
                self._bytes += path.stat().st_size
                self.written += 1
            except (VideoError, OSError) as error:  # the run goes on; the report tells
                self.error = str(error)
                logger.warning("%s", error)
