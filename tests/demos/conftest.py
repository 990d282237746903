from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from demos.make_clip import write_clip
from demos.play import synthetic
from demos.play.synthetic import Samples, SyntheticClip
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped
from tests.demos.fixtures import cache, means_bundle, samples

__all__ = ["cache", "means_bundle", "samples"]


@pytest.fixture
def signs(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model that ships without test images."""
    mnist = shipped("mnist")
    hashes = {name: sha256 for name, sha256 in mnist.sha256.items() if name != SAMPLES_FILE}
    monkeypatch.setattr(synthetic, "shipped", lambda name: replace(mnist, model=name, sha256=hashes))
    return "signs"


@pytest.fixture(scope="session")
def clip(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 digits before a made-up camera, one per frame, with their truth."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(SyntheticClip(samples, frames=24, hold=1, width=320, height=240), path)
    return path
