"""Ownership: a resource is freed once, by whichever comes first of close(), the end of `with`, and collection."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from puvae_rt.errors import ClosedError, PuvaeError

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)


class Owner:
    """Base of everything that a device hands out. `release` must not refer to the object itself."""

    def __init__(self, release: Callable[..., None], *arguments: Any) -> None:
        self._finalizer = weakref.finalize(self, _quietly, release, *arguments)
        self._release, self._arguments = release, arguments

    @property
    def closed(self) -> bool:
        """Whether it was freed."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Frees it; twice is allowed. What CUDA refuses to free (during a capture) can be closed again later."""
        if self._finalizer.alive:
            self._release(*self._arguments)
            self._finalizer.detach()

    def check_open(self) -> None:
        """ClosedError after it was freed."""
        if self.closed:
            raise ClosedError(f"{type(self).__name__} is closed; use it inside its `with` block, or before close()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:  # after a fault CUDA refuses to free as well; what went wrong first is what matters
            self._finalizer()


def _quietly(release: Callable[..., None], *arguments: Any) -> None:
    """A finalizer has nobody to raise to."""
    try:
        release(*arguments)
    except PuvaeError as error:
        logger.warning("while freeing a device resource: %s", error)
