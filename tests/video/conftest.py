from __future__ import annotations

import pytest

from puvae_rt.data import load_dataset
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped, shipped_names
from puvae_rt.video.synthetic import Samples, load_samples


@pytest.fixture(scope="session")
def samples() -> Samples:
    """Real handwritten digits."""
    if "mnist" in shipped_names():
        return load_samples(shipped("mnist").path(SAMPLES_FILE))
    test = load_dataset("mnist").test.head(1000)
    return Samples(test.images, test.labels)
