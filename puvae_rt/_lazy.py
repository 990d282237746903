"""Names of a package that are imported at their first use, so that what is quick does not wait for what is slow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, homes: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """A `__getattr__` for a package: imports a name from its home and keeps it in the package.

    Args:
        package: its `__name__`.
        homes: name -> the module that has it.
        otherwise: asked for every other name; None is an AttributeError.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name in homes:
            value = getattr(import_module(homes[name]), name)
            setattr(sys.modules[package], name, value)
            return value
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
