"""What every data set has to fulfil, whatever it was read from."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from puvae_rt.contract import MAX_CLASSES
from puvae_rt.data.splits import Raw, Split
from puvae_rt.errors import DataError

logger = logging.getLogger(__name__)

MAX_CLASS_NAME = 200  # characters


def check(name: str, raw: Raw) -> None:
    """Raises DataError when images, labels, class names or tracks of `raw` do not fit together."""
    for split_name, split in (("train", raw.train), ("test", raw.test)):
        if len(split.images) != len(split.labels):
            raise DataError(f"{name}: {len(split.images)} {split_name} images but {len(split.labels)} labels")
        _check_differing(name, split_name, split)
    count = _class_count(name, raw.train)
    if raw.test.labels.min() < 0 or raw.test.labels.max() >= count:
        raise DataError(f"{name}: a test label lies outside 0..{count - 1}; every class needs training images")
    check_class_names(name, raw.classes)
    if raw.classes and len(raw.classes) != count:
        raise DataError(f"{name}: {len(raw.classes)} class names for {count} classes")
    if raw.groups is not None and len(raw.groups) != len(raw.train):
        raise DataError(f"{name}: track_train has {len(raw.groups)} entries for {len(raw.train)} training images")
    if raw.train.images.shape[1:] != raw.test.images.shape[1:]:
        raise DataError(
            f"{name}: train images {raw.train.images.shape[1:]}, test {raw.test.images.shape[1:]}; expected one shape"
        )
    _note_untested(name, raw, count)


def _check_differing(name: str, split_name: str, split: Split) -> None:
    first = split.images[0]
    if len(split) > 1 and np.array_equal(first, split.images[1]) and bool((split.images == first).all()):
        raise DataError(
            f"{name}: all {len(split)} {split_name} images are alike; expected pictures (if they are drawn in the "
            "alpha channel, put them on a background first)"
        )


def _class_count(name: str, train: Split) -> int:
    labels = np.unique(train.labels)
    count = len(labels)
    if labels[0] != 0 or labels[-1] != count - 1:
        missing = next((i for i in range(MAX_CLASSES) if i not in labels), 0)
        raise DataError(
            f"{name}: training labels {labels[0]}..{labels[-1]} of {count} classes; expected 0..{count - 1}: no image "
            f"has label {missing}; number the classes from 0 without gaps, and leave out images of no class"
        )
    if not 2 <= count <= MAX_CLASSES:
        raise DataError(f"{name}: {count} classes in the training labels; expected 2 to {MAX_CLASSES}")
    return count


def check_class_names(name: str, classes: Sequence[str]) -> None:
    """Raises DataError when a class's name is empty, cannot be written down, or is given twice."""
    for class_name in classes:
        if not class_name.strip() or len(class_name) > MAX_CLASS_NAME or not class_name.isprintable():
            raise DataError(
                f"{name}: class name {class_name[:MAX_CLASS_NAME]!a}; expected up to {MAX_CLASS_NAME} printable "
                "characters (UTF-8)"
            )
    twice = [class_name for class_name, times in Counter(classes).items() if times > 1]
    if twice:
        raise DataError(f"{name}: class name {twice[0]!r} is given twice; expected one for each class")


def _note_untested(name: str, raw: Raw, count: int) -> None:
    untested = np.setdiff1d(np.arange(count), raw.test.labels)
    if len(untested):
        named = ", ".join(raw.classes[i] if raw.classes else str(i) for i in untested[:5])
        more = ", ..." if len(untested) > 5 else ""
        logger.warning("%s: no test image of %d of %d classes (%s%s)", name, len(untested), count, named, more)
