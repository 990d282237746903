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
        replayed: whether the call was one replay of a CUDA graph, not step by step, which takes longer.
    """

    purified: Purified
    logits: Floats | None
    replayed: bool = False

    @property
    def labels(self) -> Ints:
        """int64 [N]: the classifier's, or the projection's class without one; -1 where no distance was finite."""
        if self.logits is None:
            return self.purified.projected
        chosen = np.asarray(self.logits.argmax(axis=1), np.int64)
        return np.where(self.purified.projected == NO_LABEL, NO_LABEL, chosen)
