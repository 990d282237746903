"""What a pipeline gives back on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from puvae_rt.runtime.results import NO_LABEL, Floats, Ints, Purified


@dataclass(frozen=True)
class PurifiedBatch:
    """A purified batch on the host.

    Attributes:
        purified: the projections, and the distances that decided.
        logits: float32 [N,K] of the classifier; None where the pipeline has none.
    """

    purified: Purified
    logits: Floats | None

    @property
    def labels(self) -> Ints:
        """int64 [N]: the classifier's, or the projection's class without one; -1 where no distance was finite."""
        if self.logits is None:
            return self.purified.projected
        chosen = np.asarray(self.logits.argmax(axis=1), np.int64)
        return np.where(self.purified.projected == NO_LABEL, NO_LABEL, chosen)
