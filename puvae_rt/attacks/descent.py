"""Adam on a batch of independent problems that may shrink, for which `torch.optim` has no form."""

from __future__ import annotations

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
TINY = 1e-8


class Adam:
    """The optimizer of Kingma and Ba (2015), with one problem for each row of the variable."""

    def __init__(self, like: Tensor, rate: float) -> None:
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)
        self._rate, self._count = rate, 0

    def step(self, variable: Tensor, gradient: Tensor) -> Tensor:
        """The variable after one more step, detached."""
        self._count += 1
        self._first.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        first = self._first / (1 - BETAS[0] ** self._count)
        scale = (self._second / (1 - BETAS[1] ** self._count)).sqrt_().add_(TINY)
        return variable.detach() - self._rate * first / scale

    def keep(self, rows: Tensor) -> None:
        """Forget the problems outside `rows`, a mask or an index."""
        self._first, self._second = self._first[rows], self._second[rows]
