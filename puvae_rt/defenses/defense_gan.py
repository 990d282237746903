"""Defense-GAN: the generated image closest to the input, found by gradient descent from random codes.

Samangouei et al. 2018. L steps of momentum descent on the mean squared error from R random codes for each image; as in
the authors' code, the rate falls to a tenth for the last fifth of the steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from puvae_rt.defenses.gan_search import Search
from puvae_rt.defenses.protocol import last
from puvae_rt.models.gan import LATENT, Generator
from puvae_rt.models.layout import channels_last

LAST_PART, LAST_RATE = 0.8, 0.1  # from this share of the steps on, this share of the rate
MAX_CODES = 500  # that descend at once; more no longer fit the cache


class DefenseGan:
    """The generator's best reconstruction of each image; an `Anytime` defense."""

    def __init__(self, generator: Generator, search: Search = Search()) -> None:
        self.generator, self.search = channels_last(generator.eval()), search

    def purify(self, images: Tensor) -> Tensor:
        """The closest generated image for each of `images` [N,C,H,W] in [0,1], after all steps."""
        return last(self.anytime(images))

    def anytime(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the closest image generated so far for each of `images` [N,C,H,W], after each of the L steps."""
        search, n = self.search, len(images)
        generator = torch.Generator().manual_seed(search.seed)
        start = torch.randn(n * search.restarts, LATENT, generator=generator)  # alike on every device
        z = start.to(images.device) * search.spread  # [N*R,128]
        copies = images.repeat_interleave(search.restarts, dim=0)
        velocity = torch.zeros_like(z)
        best, best_error = images.clone(), torch.full((n,), float("inf"), device=images.device)
        for step in range(search.steps):
            parts = map(self._descend, torch.split(z, MAX_CODES), torch.split(copies, MAX_CODES))
            generated, error, gradient = map(torch.cat, zip(*parts, strict=True))
            error, winner = error.view(n, -1).min(dim=1)  # over the restarts
            chosen = generated.view(n, -1, *images.shape[1:])[torch.arange(n, device=images.device), winner]
            better = error < best_error
            best = torch.where(better[:, None, None, None], chosen, best)
            best_error = torch.where(better, error, best_error)
            rate = search.rate * (LAST_RATE if step >= LAST_PART * search.steps else 1)
            velocity = search.momentum * velocity - rate * gradient
            z = z + velocity
            yield best

    def _descend(self, z: Tensor, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Generated images, their mean squared errors [N*R], and the errors' gradient at z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            generated = self.generator(z)
            error = (generated - images).square().mean(dim=(1, 2, 3))
            (gradient,) = torch.autograd.grad(error.sum(), z)
        return generated.detach(), error.detach(), gradient
