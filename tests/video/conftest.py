from __future__ import annotations

from tests.demos.fixtures import cache, means_bundle, samples

__all__ = ["cache", "means_bundle", "samples"]
