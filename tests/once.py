"""What one run of the tests makes once, whichever of its processes needs it first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from puvae_rt.files import locked

SECONDS = 900.0


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of this run share; pytest removes it as it removes its other ones."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` that make(folder) has filled, here or in another process of this run.

    A make that fails leaves no mark: each process that needs it reports the failure.
    """
    folder = shared_folder(factory) / name
    done = folder.with_name(f"{name}.done")
    with locked(done, SECONDS):
        if not done.is_file():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
