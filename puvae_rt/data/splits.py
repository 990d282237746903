"""Images with labels, and how a data set is cut and ordered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puvae_rt.data.images import Images

SPLIT_SEED = 20190301  # one split for every training, so that two models never see each other's validation images
OWN_VALIDATION_SHARE = 0.1

Labels = NDArray[np.int64]  # [N]


@dataclass(frozen=True)
class Split:
    """uint8 images [N,C,H,W] and int64 labels [N]."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: slice | NDArray[np.int64]) -> tuple[NDArray[np.float32], Labels]:
        """Images as float32 in [0, 1], and labels."""
        return np.divide(self.images[index], 255, dtype=np.float32), self.labels[index]

    def head(self, count: int) -> Split:
        """The first `count` images."""
        return Split(self.images[:count], self.labels[:count])

    def take(self, index: NDArray[np.int64]) -> Split:
        """The images at these places, in this order."""
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Raw:
    """What a reader gives: both splits, class names, and the physical object of each training image if known."""

    train: Split
    test: Split
    classes: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None


def validation_split(raw: Raw, wanted: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the training images that are kept for training, and of those that are held out for validation.

    The images of one group (a track of one sign) stay together, and no class loses all its images. Either may be
    empty: there are too few images then.

    Args:
        raw: the images as they were read.
        wanted: images to hold out; None is OWN_VALIDATION_SHARE of them.
    """
    n = len(raw.train)
    count = min(wanted, n // 2) if wanted is not None else max(1, round(OWN_VALIDATION_SHARE * n))
    groups = raw.groups if raw.groups is not None else np.arange(n)
    members, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(members))
    chosen = order[: int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1]
    held = np.isin(groups, members[chosen])
    for label in np.setdiff1d(raw.train.labels, raw.train.labels[~held]):  # classes that would have none left
        held &= groups != groups[np.flatnonzero(raw.train.labels == label)[0]]
    return np.flatnonzero(~held), np.flatnonzero(held)


def shuffled(split: Split) -> Split:
    """The same images in one order for good, in which the first N are a sample of all classes."""
    return split.take(np.random.default_rng(SPLIT_SEED).permutation(len(split)))


def is_by_class(split: Split) -> bool:
    """Whether its classes come one after the other, so that the first N images are of a few classes only."""
    changes = int(np.count_nonzero(np.diff(split.labels)))
    return changes < len(np.unique(split.labels))
