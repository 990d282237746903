from __future__ import annotations

from pathlib import Path

import pytest

from puvae_rt.runtime import assets as runtime_assets
from tests.export import shipped


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny shipped model; its checkpoints lie two folders up."""
    return shipped.pack(tmp_path_factory.mktemp("shipped"))


@pytest.fixture
def toy_assets(packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The tiny model is the only one shipped, and the engine cache is empty."""
    monkeypatch.setattr(runtime_assets, "ASSETS", packed.parent)
    for function in (runtime_assets.shipped, runtime_assets.shipped_names):
        monkeypatch.setattr(function, "__defaults__", (packed.parent,))
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    return packed
