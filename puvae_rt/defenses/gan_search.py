"""How Defense-GAN searches. Light: the command line reads its defaults here without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from puvae_rt.errors import ContractError


@dataclass(frozen=True)
class Search:
    """Defense-GAN's settings.

    L and R are the PuVAE paper's. Codes start from the prior N(0, 1) that the generator was trained on; the authors'
    code starts at a spread of 128**-0.5 with rate 10. `puvae_rt` chose on validation images: see CONTRIBUTING.md.
    """

    steps: int = 200  # L
    restarts: int = 20  # R
    rate: float = 100.0
    spread: float = 1.0  # standard deviation of the first codes
    momentum: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise ContractError(f"{name}={getattr(self, name)}: expected at least 1 (--gan-{name})")
        for name in ("rate", "spread"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ContractError(f"{name}={getattr(self, name)}: expected a number > 0 (--gan-{name})")
        if not 0 <= self.momentum < 1:
            raise ContractError(f"momentum={self.momentum}: expected at least 0 and less than 1")
