"""Fixtures of the video package and of the demos."""

from __future__ import annotations

from pathlib import Path

import pytest

from demos.play.synthetic import Samples, load_samples
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped
from tests.demos import means


@pytest.fixture(scope="session")
def samples() -> Samples:
    """Real handwritten digits."""
    return load_samples(shipped("mnist").path(SAMPLES_FILE))


@pytest.fixture(scope="session")
def means_bundle(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A purifier of digits that needs no training."""
    return means.save_bundle(tmp_path_factory.mktemp("bundles") / "means", samples)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own empty engine cache."""
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
