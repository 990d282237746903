from __future__ import annotations

from pathlib import Path

import pytest

from demos.make_clip import write_clip
from puvae_rt.video.synthetic import Samples, SyntheticClip
from tests.video.fixtures import cache, means_bundle, samples

__all__ = ["cache", "means_bundle", "samples"]


@pytest.fixture(scope="session")
def clip(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 digits before a made-up camera, one per frame, with their truth."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(SyntheticClip(samples, frames=24, hold=1, width=320, height=240), path)
    return path
