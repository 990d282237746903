"""One protocol for every defence, so that an evaluation is a loop over them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from puvae_rt.errors import ContractError
from puvae_rt.robustness.attacks import Model

CHUNK = 250  # images that a classifier takes at a time
Clock = Callable[[], float]


class Defence(Protocol):
    """What stands in front of a classifier: images [N,C,H,W] in [0,1] -> purified images of the same form."""

    def purify(self, images: Tensor) -> Tensor: ...


@runtime_checkable
class Anytime(Defence, Protocol):
    """A defence that may be stopped at any moment: each item is the best result so far, the last one `purify`'s."""

    def anytime(self, images: Tensor) -> Iterator[Tensor]: ...


def last(results: Iterator[Tensor]) -> Tensor:
    """An anytime defence's last result; no earlier one is held meanwhile."""
    return deque(results, maxlen=1).pop()


class NoDefence:
    """Images go to the classifier as they are: also the defence of an adversarially trained classifier."""

    def purify(self, images: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class Defended:
    """A classifier behind a defence, itself a classifier: images [N,C,H,W] in [0,1] -> logits [N,K]."""

    defence: Defence
    classifier: Model

    def __call__(self, images: Tensor) -> Tensor:
        return self.classifier(self.defence.purify(images))

    def classify(self, images: Tensor) -> Tensor:
        """The class of every image, [N]."""
        return classify(self.classifier, self.defence.purify(images))


@torch.no_grad()
def classify(classifier: Model, images: Tensor) -> Tensor:
    """The class that a classifier gives to images [N,C,H,W], [N]."""
    return torch.cat([classifier(part).argmax(dim=1) for part in torch.split(images, CHUNK)])


def purify_within(defence: Defence, images: Tensor, seconds: float, clock: Clock = time.monotonic) -> Tensor:
    """The best result that `defence` has after `seconds` of wall time.

    A first result always comes back, even when it alone takes longer; a step under way is finished.
    """
    if not seconds > 0:
        raise ContractError(f"time budget {seconds} s: expected a positive number of seconds")
    if not isinstance(defence, Anytime):
        return defence.purify(images)
    end = clock() + seconds
    for best in defence.anytime(images):
        result = best
        if clock() >= end:
            break
    return result
