"""What TensorRT says while it works, and its return values checked: its own words go into the exception."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, TypeVar

from puvae_rt.errors import BuildError, DeviceError, PuvaeError

logger = logging.getLogger(__name__)

T = TypeVar("T")
_KEPT_LINES = 20
_FAILED = "TENSORRT_ERROR"


class Log(ABC):
    """The library's last complaints, and checks that put them into the error they raise."""

    def __init__(self) -> None:
        self.problems: deque[str] = deque(maxlen=_KEPT_LINES)

    def attach(self, trt: Any) -> Any:
        """A logger of the library's own type that writes here."""
        levels = {
            trt.ILogger.INTERNAL_ERROR: logging.ERROR,
            trt.ILogger.ERROR: logging.ERROR,
            trt.ILogger.WARNING: logging.WARNING,
            trt.ILogger.INFO: logging.DEBUG,
        }
        hear = self._hear

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)  # super() is not enough for these bindings

            def log(self, severity: Any, message: str) -> None:
                hear(levels.get(severity, logging.NOTSET), message)

        return Logger()

    def require(self, call: str, value: T | None, detail: str = "") -> T:
        """`value`, unless the call gave nothing; `detail` is added to the error."""
        if value is None:
            raise self.error(call, f"gave nothing{detail and f': {detail}'}")
        return value

    def require_ok(self, call: str, ok: bool, detail: str = "") -> None:
        """Raises unless the call succeeded; `detail` is added to the error."""
        if not ok:
            raise self.error(call, f"failed{detail and f': {detail}'}")

    @property
    def said(self) -> str:
        """The library's last complaints, one a line."""
        return "\n  ".join(self.problems) or "nothing"

    @abstractmethod
    def error(self, call: str, what: str) -> PuvaeError:
        """The exception for a call that went wrong."""

    def _hear(self, level: int, message: str) -> None:
        """`level` is one of `logging`; NOTSET for what only a verbose log has."""
        if level > logging.DEBUG:
            self.problems.append(message)


class RunLog(Log):
    """Of loading and running an engine: passed on to Python's log."""

    def error(self, call: str, what: str) -> DeviceError:
        return DeviceError(call, _FAILED, f"{what}. TensorRT said:\n  {self.said}")

    def _hear(self, level: int, message: str) -> None:
        super()._hear(level, message)
        if level > logging.NOTSET:
            logger.log(level, "TensorRT: %s", message)


class BuildLog(Log):
    """Of a build, which says much: only what lists the layers is kept."""

    def __init__(self, listing: str) -> None:
        """`listing`: what a message begins with that lists the layers."""
        super().__init__()
        self.listing: list[str] = []
        self._begins = listing

    def error(self, call: str, what: str) -> BuildError:
        return BuildError(f"{call} {what}; expected an engine. The compiler said:\n  {self.said}")

    def _hear(self, level: int, message: str) -> None:
        super()._hear(level, message)
        if message.startswith(self._begins):
            self.listing.append(message)
