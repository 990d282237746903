"""What can make an attack look weaker than it is, measured on a defended classifier.

RobustBench (Croce et al. 2021) admits a defense whose input gradients are in general not zero, whose pass is
deterministic, and which runs no optimization loop. AutoAttack's own code warns of the same things and of answers that
are probabilities; torchattacks has no such warnings, so `flags` gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from puvae_rt.attacks.white_box import Model

PASSES = 3  # that are compared
CHUNK = 50  # images whose gradients are computed together
FEW_GRADIENTS = 0.1  # share of images without any gradient from which on it is worth a warning
UNIT_SUM = 1e-4  # how far from 1 a sum of float32 probabilities may lie
_DIFFERENTIATES = (torch.autograd.grad, torch.Tensor.backward, torch.autograd.backward)


class Gradients(NamedTuple):
    """How much of the input gradients is exactly zero."""

    zero_entries: float  # share of all entries
    images_without: float  # share of images whose whole gradient is zero


def gradients_of(model: Model, x: Tensor, labels: Tensor) -> Gradients:
    """The zeros in the gradient of the cross-entropy of `model` (logits) at images x [N,C,H,W] with labels [N].

    A model that breaks the gradient off counts as one whose gradients are all zero.
    """
    parts = zip(torch.split(x, CHUNK), torch.split(labels, CHUNK), strict=True)
    zero = torch.cat([_zeros(model, part, own) for part, own in parts]).flatten(1)
    return Gradients(float(zero.float().mean()), float(zero.all(dim=1).float().mean()))


def _zeros(model: Model, x: Tensor, labels: Tensor) -> Tensor:
    """Where the gradient is exactly zero, [N,C,H,W]."""
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x, allow_unused=True) if loss.requires_grad else (None,)
    return torch.ones_like(x, dtype=torch.bool) if gradient is None else gradient == 0


@torch.no_grad()
def largest_difference(answer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """The largest difference between PASSES answers to the same images; infinite where a NaN comes or goes."""
    first = answer(x)
    worst = 0.0
    for _ in range(PASSES - 1):
        difference = (answer(x) - first).abs()
        difference = difference.masked_fill(first.isnan(), 0).nan_to_num(nan=float("inf"))
        worst = max(worst, float(difference.max()))
    return worst


def passes_that_differentiate(answer: Callable[[Tensor], object], x: Tensor) -> int:
    """How often one answer computes a gradient: 0 unless it optimizes something."""
    with _counting() as counter:
        answer(x)
    return counter.count


class _Counter(TorchFunctionMode):
    """Counts the calls that compute gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in _DIFFERENTIATES
        return func(*args, **(kwargs or {}))


@contextmanager
def _counting() -> Iterator[_Counter]:
    with _Counter() as counter:
        yield counter


def flags(model: Model, x: Tensor, labels: Tensor) -> list[str]:
    """What AutoAttack would warn of on a model (logits), tried on images x [N,C,H,W] with labels [N]; often nothing."""
    found = []
    if (difference := largest_difference(model, x)) > 0:
        found.append(
            f"the answers differ by up to {difference:.2g} between passes: take the version for random defenses"
        )
    if (without := gradients_of(model, x, labels).images_without) > FEW_GRADIENTS:
        found.append(f"{100 * without:.0f}% of the images have no gradient: Square and BPDA count, APGD and FAB do not")
    if (passes := passes_that_differentiate(model, x)) > 0:
        found.append(f"an answer computes {passes} gradients itself: attack its loop, or what it converges to")
    with torch.no_grad():
        answers = model(x)
    if answers.min() >= 0 and (answers.sum(dim=1) - 1).abs().max() < UNIT_SUM:
        found.append("the answers are probabilities: give logits, or the losses lose their slope")
    return found
