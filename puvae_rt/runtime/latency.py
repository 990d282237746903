"""How latencies are summed up everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}

Summary = dict[str, float | None]


def summary(milliseconds: Iterable[float]) -> Summary:
    """p50, p90, p99, p99_9 and max, in milliseconds; None each where nothing was measured."""
    values = np.fromiter(milliseconds, np.float64)
    if not values.size:
        return dict.fromkeys(PERCENTILES)
    return dict(zip(PERCENTILES, np.percentile(values, list(PERCENTILES.values())).tolist(), strict=True))
