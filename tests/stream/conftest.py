from __future__ import annotations

from pathlib import Path

import pytest

from tests.demos.fixtures import cache
from tests.runtime import toy

__all__ = ["cache"]


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.save_bundle(tmp_path_factory.mktemp("toy") / "bundle")
