"""How far an attack may go on which images."""

from __future__ import annotations

from typing import NamedTuple

from puvae_rt.attacks.constants import ALPHA, COLOUR_ALPHA, COLOUR_EPSILON, EPSILON
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError


class Radii(NamedTuple):
    """L-infinity bounds in [0,1]: of the whole attack, and of RAND+FGSM's random step, which is a part of it."""

    epsilon: float
    alpha: float


GRAY, COLOUR = Radii(EPSILON, ALPHA), Radii(COLOUR_EPSILON, COLOUR_ALPHA)


def radii_of(contract: ImageContract) -> Radii:
    """The paper's radii: .3 and .05 on MNIST and Fashion-MNIST, .06 and .005 on color images."""
    return GRAY if contract.channels == 1 else COLOUR


def check_epsilon(epsilon: float) -> None:
    """Raises ContractError unless 0 < epsilon <= 1."""
    if not 0 < epsilon <= 1:
        raise ContractError(f"epsilon={epsilon}: expected 0 < epsilon <= 1 (pixels are in [0, 1])")


def check_size(name: str, size: float) -> None:
    """Raises ContractError unless `size`, by its name in the message, is a finite number above 0."""
    if not 0 < size < float("inf"):
        raise ContractError(f"{name} {size:g}: expected a finite number above 0")
