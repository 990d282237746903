"""Projected gradient ascent (Madry et al. 2018) on whatever an attacker may choose: pixels in a ball, a patch, a blur.

What may be chosen is a `Perturbation`; the ascent is the same for all. The attacks are untargeted; images are [N,C,H,W]
in [0,1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from puvae_rt.attacks.constants import PGD_TRAVEL
from puvae_rt.attacks.radii import check_epsilon, check_size
from puvae_rt.errors import ContractError

Objective = Callable[[Tensor, Tensor], Tensor]  # images [N,C,H,W], labels [N] -> what the attacker raises, [N]
Judge = Callable[[Tensor], Tensor]  # images -> the class that the defended system answers, [N]
TINY = 1e-12  # the least that is divided by


@dataclass(frozen=True)
class Pgd:
    """Settings of projected gradient ascent; ContractError for impossible ones.

    Attributes:
        steps: in each restart.
        travel: how many radii all steps together could go, so that a random start can cross the ball.
        restarts: random starts; an image that is wrong once is not tried again.
        samples: gradients that are averaged at each step (EOT).
        seed: of the random starts.
    """

    steps: int = 40
    travel: float = PGD_TRAVEL
    restarts: int = 2
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "samples"):
            if getattr(self, name) < 1:
                raise ContractError(f"{name}={getattr(self, name)}: expected at least 1")
        if not 0 < self.travel < float("inf"):
            raise ContractError(f"travel={self.travel}: expected a number of epsilons > 0")


class Perturbation(Protocol):
    """What an attacker may do to N images: a set of choices, one for each image, and the images that they make."""

    def start(self, generator: torch.Generator) -> Tensor:
        """A random choice for every image, [N,...]."""

    def images(self, choice: Tensor, rows: Tensor) -> Tensor:
        """The attacked images [M,C,H,W] in [0,1] of choices [M,...] for the images at `rows` [M]; differentiable."""

    def move(self, choice: Tensor, gradient: Tensor, rows: Tensor, share: float) -> Tensor:
        """The choices [M,...] after a step along `gradient`, `share` radii long, and back into what is allowed."""


class Linf:
    """Every pixel may move by up to epsilon, in (0, 1]; a choice is the image itself."""

    def __init__(self, x: Tensor, epsilon: float) -> None:
        check_epsilon(epsilon)
        self._x, self._epsilon = x, epsilon
        self._low, self._high = (x - epsilon).clamp(0, 1), (x + epsilon).clamp(0, 1)

    def start(self, generator: torch.Generator) -> Tensor:
        """Uniform in the ball."""
        start = self._x + self._epsilon * (2 * uniform(self._x.shape, generator, self._x) - 1)
        return torch.minimum(torch.maximum(start, self._low), self._high)

    def images(self, choice: Tensor, rows: Tensor) -> Tensor:
        """The choice."""
        return choice

    def move(self, choice: Tensor, gradient: Tensor, rows: Tensor, share: float) -> Tensor:
        """A step along the gradient's sign."""
        moved = choice + share * self._epsilon * gradient.sign()
        return torch.minimum(torch.maximum(moved, self._low[rows]), self._high[rows])


class L2:
    """The image may move by up to `radius` in Euclidean distance, pixels in [0,1]; a choice is the image itself."""

    def __init__(self, x: Tensor, radius: float) -> None:
        check_size("L2 radius", radius)
        self._x, self._radius = x, radius

    def start(self, generator: torch.Generator) -> Tensor:
        """A random direction, a random share of the radius long."""
        direction = _unit(torch.randn(self._x.shape, generator=generator).to(self._x.device))
        way = self._radius * uniform((len(self._x), 1, 1, 1), generator, self._x)
        return (self._x + way * direction).clamp(0, 1)

    def images(self, choice: Tensor, rows: Tensor) -> Tensor:
        """The choice."""
        return choice

    def move(self, choice: Tensor, gradient: Tensor, rows: Tensor, share: float) -> Tensor:
        """A step along the gradient; clipping to [0,1] afterwards only shortens the way from the clean image."""
        x = self._x[rows]
        away = choice + share * self._radius * _unit(gradient) - x
        return (x + away * (self._radius / _lengths(away)).clamp(max=1)).clamp(0, 1)


def pgd(objective: Objective, judge: Judge, x: Tensor, labels: Tensor, epsilon: float, settings: Pgd = Pgd()) -> Tensor:
    """`ascend` inside the L-infinity ball of radius epsilon around images x [N,C,H,W] in [0,1].

    Raises:
        ContractError: epsilon is not in (0, 1].
    """
    return ascend(objective, judge, x, labels, Linf(x, epsilon), settings)


def ascend(
    objective: Objective, judge: Judge, x: Tensor, labels: Tensor, perturbation: Perturbation, settings: Pgd = Pgd()
) -> Tensor:
    """Attacked images [N,C,H,W]: one allowed that `judge` gets wrong where one was met, else the last iterate.

    Args:
        objective: what the attacker raises, of images and labels: [N].
        judge: the class that the defended system answers: [N].
        x: clean images [N,C,H,W] in [0,1].
        labels: true classes [N].
        perturbation: what is allowed on them.
        settings: steps, restarts and samples.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    attacked = x.clone()
    standing = judge(x) == labels
    for _ in range(settings.restarts):
        choice = perturbation.start(generator)
        for _ in range(settings.steps):
            todo = standing.nonzero().squeeze(1)
            if not len(todo):
                return attacked
            gradient = _mean_gradient(objective, perturbation, choice[todo], todo, labels[todo], settings.samples)
            choice[todo] = perturbation.move(choice[todo], gradient, todo, settings.travel / settings.steps)
            attacked[todo] = perturbation.images(choice[todo], todo)
            standing[todo] = judge(attacked[todo]) == labels[todo]
    return attacked


def _mean_gradient(
    objective: Objective, perturbation: Perturbation, choice: Tensor, rows: Tensor, labels: Tensor, samples: int
) -> Tensor:
    choice = choice.detach().requires_grad_()
    images = perturbation.images(choice, rows)
    total = torch.stack([objective(images, labels).sum() for _ in range(samples)]).sum()
    return torch.autograd.grad(total, choice)[0]


def uniform(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Numbers in [0,1), drawn on the CPU, so that they are the same wherever `like` is, and brought there."""
    return torch.rand(shape, generator=generator).to(like.device)


def _lengths(x: Tensor) -> Tensor:
    """The Euclidean length of each image [N,C,H,W]: [N,1,1,1], never 0."""
    return x.flatten(1).square().sum(dim=1).sqrt().clamp(min=TINY).view(-1, 1, 1, 1)


def _unit(x: Tensor) -> Tensor:
    return x / _lengths(x)
