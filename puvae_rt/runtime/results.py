"""What a purifier gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NO_LABEL = -1  # when no class had a finite distance


@dataclass(frozen=True)
class Purified:
    """A purified batch: the projection that is closest to its image, and the distances that decided.

    Attributes:
        images: float32 [N,C,H,W] in [0,1].
        labels: int64 [N], the class of the projection chosen (not a classifier's); -1 when no class had a finite
            distance, and the image is NaN then.
        rmse: float32 [N,K], root mean square difference to the projection on each class.
        score: float32 [N,K], what was minimised: `rmse` or a score in its order, or the model's own.
    """

    images: Floats
    labels: Ints
    rmse: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Result:
    """One purified frame.

    Attributes:
        image: float32 [C,H,W] in [0,1] at the model's size; RGB order when C = 3.
        label: the loaded classifier's class for `image`; without a classifier, the class of the projection chosen.
        rmse: float32 [K], distance of the frame's region to the projection on each class. Its minimum tells how
            far the frame is from everything the model knows.
        timings_ms: milliseconds of each stage: preprocess, purify, classify (0 without a classifier), total.
        degraded: True when no class had a finite distance: `image` is NaN then and `label` is -1.
        projected: the class of the projection that `image` is, whatever the classifier sees in it; -1 when degraded.
    """

    image: Floats
    label: int
    rmse: Floats
    timings_ms: Mapping[str, float]
    degraded: bool
    projected: int = NO_LABEL
