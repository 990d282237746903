"""What a purifier gives back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from puvae_rt.contract import NO_LABEL

__all__ = ["LAST_GOOD", "NO_IMAGE", "NO_LABEL", "PASSTHROUGH", "PURIFIED", "Floats", "Ints", "Purified", "Result"]

# What a result shows.
PURIFIED, PASSTHROUGH, LAST_GOOD, NO_IMAGE = "purified", "passthrough", "last-good", "none"

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Purified:
    """A purified batch: the projection that is closest to its image, and the distances that decided.

    Attributes:
        images: float32 [N,C,H,W] in [0,1], RGB order when C = 3.
        projected: int64 [N] from 0 to K - 1, the class of the projection chosen (not a classifier's answer); -1 when no
            class had a finite distance, and the image is NaN then.
        rmse: float32 [N,K] in [0,1], root mean square difference of the pixels to the projection on each class; NaN for
            classes that a shortlist left out.
        score: float32 [N,K], what was minimized: `rmse` or a score in its order, or the model's own; infinite for
            classes that a shortlist left out.
    """

    images: Floats
    projected: Ints
    rmse: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.projected)

    @property
    def decoded(self) -> npt.NDArray[np.bool_]:
        """[N,K], whether a class was decoded; the shortlist left out the others."""
        return ~(np.isnan(self.rmse) & np.isposinf(self.score))

    @property
    def labels(self) -> Ints:
        """The old name of `projected`; it goes in 0.3."""
        warnings.warn("Purified.labels is now Purified.projected", DeprecationWarning, stacklevel=2)
        return self.projected

    @classmethod
    def join(cls, parts: Sequence[Purified]) -> Purified:
        """Batches one after another; a single one as it is.

        Args:
            parts: at least one, all of the same model.
        """
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True)
class Classified:
    """A purified batch and its labels.

    Attributes:
        purified: the projections, and the distances that decided.
        labels: int64 [N], the classifier's, or the projection's class without one; -1 where no distance was finite.
        replayed: as in `Result`.
    """

    purified: Purified
    labels: Ints
    replayed: bool | None = None


@dataclass(frozen=True)
class Result:
    """One purified frame.

    Attributes:
        image: float32 [C,H,W] in [0,1] at the model's size; RGB order when C = 3.
        label: the loaded classifier's class for `image`; without a classifier, the class of the projection chosen.
        rmse: float32 [K] in [0,1], distance of the frame's region to the projection on each class; NaN for classes that
            a shortlist left out. Its minimum, `np.nanmin`, tells how far the frame is from everything that was decoded.
        timings_ms: milliseconds of each stage: preprocess, purify, classify (0 without a classifier), total.
        degraded: True when no class had a finite distance: `image` is NaN then and `label` is -1; and where a
            `puvae_rt.stream.guard.Guard` has put something else in the place of an answer.
        projected: the class of the projection that `image` is, whatever the classifier sees in it; -1 when degraded.
        score: float32 [K], what was minimized, as in `Purified`.
        reason: why it is degraded ("deadline", "nan", "error"), or why there is no label ("abstained"); else empty.
        shown: what `image` and `label` are of: "purified", "passthrough" (the frame as it came), "last-good" (an
            earlier frame's result) or "none".
        replayed: on a GPU, whether the frame was one replay of a CUDA graph. False at the first frame of a kind; if it
            stays so, `Purifier.obstacles` tells why. None on a CPU.
    """

    image: Floats
    label: int
    rmse: Floats
    timings_ms: Mapping[str, float]
    degraded: bool
    projected: int
    score: Floats
    reason: str = ""
    shown: str = PURIFIED
    replayed: bool | None = None
