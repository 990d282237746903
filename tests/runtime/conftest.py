from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from puvae_rt import Purifier
from tests.runtime import toy


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own empty engine cache."""
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return toy.save_bundle(tmp_path / "bundle")


@pytest.fixture
def purifier(bundle: Path) -> Iterator[Purifier]:
    with Purifier.load(bundle, threads=1) as purifier:
        yield purifier
