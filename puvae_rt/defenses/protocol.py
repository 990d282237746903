"""One protocol for every defense, so that an evaluation is a loop over them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from puvae_rt._moved import renamed
from puvae_rt.attacks.white_box import Model
from puvae_rt.errors import ContractError

CHUNK = 250  # images that a classifier takes at a time
Clock = Callable[[], float]


class Defense(Protocol):
    """What stands in front of a classifier: images [N,C,H,W] in [0,1] -> purified images of the same form."""

    def purify(self, images: Tensor) -> Tensor:
        """The purified images [N,C,H,W] in [0,1] of `images` of the same form."""


@runtime_checkable
class Anytime(Defense, Protocol):
    """A defense that may be stopped at any moment: each item is the best result so far, the last one `purify`'s."""

    def anytime(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the best result so far for `images` [N,C,H,W]; at least one."""


def last(results: Iterator[Tensor]) -> Tensor:
    """The last result of an anytime defense; no earlier one is held meanwhile."""
    return deque(results, maxlen=1).pop()


class NoDefense:
    """The defense that hands images on as they are: also the one of a classifier trained on attacked images."""

    def purify(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images


@dataclass(frozen=True)
class Defended:
    """A classifier behind a defense, itself a classifier: images [N,C,H,W] in [0,1] -> logits [N,K]."""

    defense: Defense
    classifier: Model

    def __call__(self, images: Tensor) -> Tensor:
        return self.classifier(self.defense.purify(images))

    def classify(self, images: Tensor) -> Tensor:
        """The class of every image, [N]."""
        return classify(self.classifier, self.defense.purify(images))


@torch.no_grad()
def classify(classifier: Model, images: Tensor) -> Tensor:
    """The class that a classifier gives to images [N,C,H,W], [N]."""
    return torch.cat([classifier(part).argmax(dim=1) for part in torch.split(images, CHUNK)])


def purify_within(defense: Defense, images: Tensor, seconds: float, clock: Clock = time.monotonic) -> Tensor:
    """The best result that `defense` has after `seconds` of wall time.

    A first result always comes back, even when it alone takes longer; a step under way is finished.
    """
    if not seconds > 0:
        raise ContractError(f"time budget {seconds} s: expected a positive number of seconds")
    if not isinstance(defense, Anytime):
        return defense.purify(images)
    end = clock() + seconds
    for best in defense.anytime(images):
        result = best
        if clock() >= end:
            break
    return result


_OLD = {"Defence": "Defense", "NoDefence": "NoDefense"}
__getattr__ = renamed(__name__, _OLD)
