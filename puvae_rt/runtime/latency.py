"""How latencies are summed up everywhere."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}

Summary = dict[str, float | None]


def summary(milliseconds: Iterable[float]) -> Summary:
    """p50, p90, p99, p99_9 and max, in milliseconds; None each where nothing was measured."""
    values = np.sort(np.fromiter(milliseconds, np.float64))
    if not values.size:
        return dict.fromkeys(PERCENTILES)
    # np.percentile's linear rule, at a tenth of its cost: this runs between two frames.
    ranks = np.array(list(PERCENTILES.values())) / 100 * (values.size - 1)
    return dict(zip(PERCENTILES, np.interp(ranks, np.arange(values.size), values).tolist(), strict=True))
