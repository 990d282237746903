"""How much an evaluation takes on. Light: the command line reads its defaults here without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from puvae_rt.attacks.constants import AUTO_STEPS, SQUARE_QUERIES

IMAGES, DEFENSE_GAN_IMAGES, BUDGET_IMAGES = 1000, 100, 128  # test images of a cell, of a slow defense, of a curve


@dataclass(frozen=True)
class Smoothing:
    """Of a certificate: noise, and how many noisy copies of an image are classified.

    `sigmas`: standard deviations of the noise, of pixels in [0,1].
    `choosing`: copies by which the class is chosen; `copies`: others, which bound its share.
    `alpha`: the chance that a certificate is wrong.
    """

    sigmas: tuple[float, ...] = (0.25,)
    choosing: int = 100
    copies: int = 1000
    alpha: float = 0.001


@dataclass(frozen=True)
class Effort:
    """How hard the attacks that know the defense try."""

    pgd_steps: int = 40
    restarts: int = 2
    apgd_steps: int = AUTO_STEPS
    queries: int = SQUARE_QUERIES
