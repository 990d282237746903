"""What a visitor may change: the attack and its strength, the purifier, a pause."""

from __future__ import annotations

from typing import Annotated

import msgspec

from demos.arguments import ATTACKS, NO_ATTACK
from demos.play.defense import Attack, Defense
from puvae_rt.errors import InputError
from puvae_rt.schema import decode, number, one_of

LEAST, MOST = 0.01, 1.0  # of epsilon
MAX_BYTES = 1 << 10  # of a message with one
_REMEDY = "load the page again"


class Tuning(msgspec.Struct, frozen=True):
    """Settings of a stream, as a page sends them.

    Attributes:
        attack: the attack on every digit, by name; "none" is none.
        epsilon: its L-infinity radius, of pixels in [0,1].
        purify: whether the purifier is on.
        paused: whether frames go by unseen.
    """

    attack: Annotated[str, one_of(NO_ATTACK, *ATTACKS)] = NO_ATTACK
    epsilon: Annotated[float, number(LEAST, MOST)] = LEAST
    purify: bool = True
    paused: bool = False

    @classmethod
    def read(cls, text: str) -> Tuning:
        """InputError for a message that is none."""
        if len(text) > MAX_BYTES:
            raise InputError(f"settings: got {len(text)} characters, expected at most {MAX_BYTES}; {_REMEDY}")
        return decode(text, cls, "settings", _REMEDY, InputError)

    @classmethod
    def of(cls, defense: Defense, attack: Attack) -> Tuning:
        """As a defense is set; the epsilon of an attack that is off is kept."""
        name = NO_ATTACK if defense.attack is None else attack.name
        return cls(name, min(MOST, max(LEAST, attack.epsilon)), defense.purifying)

    def apply(self, defense: Defense, attack: Attack) -> None:
        """Sets a defense, between two frames of its own thread."""
        attack.epsilon, defense.purifying = self.epsilon, self.purify
        if self.attack == NO_ATTACK:
            defense.attack = None
        else:
            attack.name, defense.attack = self.attack, attack
