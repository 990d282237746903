"""How far an attack may go on which images."""

from __future__ import annotations

from typing import NamedTuple

from puvae_rt.attacks.constants import ALPHA, COLOUR_ALPHA, COLOUR_EPSILON, EPSILON
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError


class Radii(NamedTuple):
    """L-infinity bounds in [0,1]: the whole of the attack, and RAND+FGSM's random step out of it."""

    epsilon: float
    alpha: float


GRAY, COLOUR = Radii(EPSILON, ALPHA), Radii(COLOUR_EPSILON, COLOUR_ALPHA)


def radii_of(contract: ImageContract) -> Radii:
    """The paper's: .3 and .05 on MNIST and Fashion-MNIST, .06 and .005 on colour images."""
    return GRAY if contract.channels == 1 else COLOUR


def check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon <= 1:
        raise ContractError(f"epsilon={epsilon}: expected 0 < epsilon <= 1 (pixels are in [0, 1])")
