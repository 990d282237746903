"""Perturbations that are not added to the image: a patch and a blur, each a `Perturbation` for `ascent.ascend`.

- Patch (Brown et al. 2017; for each image as in Karmon et al. 2018): a square of `side` x `side` pixels, anywhere
  in the image, whose pixels are free in [0,1]; every restart tries another place.
- Blur: one of the three non-additive attacks of NAPPure (Nan et al. 2025, arXiv:2510.14025, GTSRB and CIFAR-10), the
  convolution x * k. Our bounds, as the paper's were not at hand: k has `side` x `side` weights >= 0 that sum to 1, as
  those of a lens have, and is the same for all channels; the border is continued outwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from puvae_rt.attacks.ascent import TINY, uniform
from puvae_rt.errors import ContractError

BLUR_RATE = 8.0  # one radius's way of a blur: how much the logarithm of a weight may change


class Patch:
    """A square of free pixels at a random place; a choice is the image itself.

    Raises:
        ContractError: a side that is not from 1 to the image's.
    """

    def __init__(self, x: Tensor, side: int) -> None:
        if not 1 <= side <= min(x.shape[2:]):
            raise ContractError(f"patch side {side}: expected from 1 to {min(x.shape[2:])} pixels, the image's side")
        self._x, self._side = x, side
        self._inside = torch.zeros_like(x)  # [N,C,H,W], 1 inside the square

    def start(self, generator: torch.Generator) -> Tensor:
        """A new place for every image, and random pixels in it."""
        self._inside = torch.zeros_like(self._x)
        rows, columns = (
            torch.randint(0, size - self._side + 1, (len(self._x),), generator=generator).tolist()
            for size in self._x.shape[2:]
        )
        for inside, row, column in zip(self._inside, rows, columns, strict=True):
            inside[:, row : row + self._side, column : column + self._side] = 1
        return torch.where(self._inside > 0, uniform(self._x.shape, generator, self._x), self._x)

    def images(self, choice: Tensor, rows: Tensor) -> Tensor:
        """The choice."""
        return choice

    def move(self, choice: Tensor, gradient: Tensor, rows: Tensor, share: float) -> Tensor:
        """A step of size `share` along the gradient's sign, inside the square."""
        return (choice + share * gradient.sign() * self._inside[rows]).clamp(0, 1)


class Blur:
    """A convolution with a kernel of its own for each image; a choice is the kernel, [N,side,side].

    Raises:
        ContractError: a side that is not odd, at least 3 and smaller than the image's.
    """

    def __init__(self, x: Tensor, side: int) -> None:
        if side < 3 or side % 2 == 0 or side >= min(x.shape[2:]):
            raise ContractError(f"blur side {side}: expected an odd number from 3 to below {min(x.shape[2:])} pixels")
        self._x, self._side = x, side

    def start(self, generator: torch.Generator) -> Tensor:
        """Half the sharp image, half a random point of the simplex, so that every weight can grow."""
        count = self._side**2
        weights = -uniform((len(self._x), count), generator, self._x).clamp(min=TINY).log()  # exponential
        kernels = 0.5 * weights / weights.sum(dim=1, keepdim=True)
        kernels[:, count // 2] += 0.5
        return kernels.view(-1, self._side, self._side)

    def images(self, choice: Tensor, rows: Tensor) -> Tensor:
        """The images at `rows`, each blurred by its own kernel."""
        return convolve(self._x[rows], choice)

    def move(self, choice: Tensor, gradient: Tensor, rows: Tensor, share: float) -> Tensor:
        """A step of mirror ascent: weights >= 0 that sum to 1 stay so (Beck and Teboulle 2003)."""
        steepest = gradient.abs().amax(dim=(1, 2), keepdim=True).clamp(min=TINY)
        grown = choice * (BLUR_RATE * share * gradient / steepest).exp()
        return grown / grown.sum(dim=(1, 2), keepdim=True)


def convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Images x [N,C,H,W], every channel of an image convolved with its kernel [N,side,side]; same size."""
    n, c, h, w = x.shape
    half = kernels.shape[-1] // 2
    padded = F.pad(x, (half, half, half, half), mode="replicate").view(1, n * c, h + 2 * half, w + 2 * half)
    kernels = kernels.flip(1, 2).repeat_interleave(c, dim=0)[:, None]  # [N*C,1,side,side]
    return F.conv2d(padded, kernels, groups=n * c).view(n, c, h, w).clamp(0, 1)
