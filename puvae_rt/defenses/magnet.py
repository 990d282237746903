"""MagNet: the reformer's output replaces the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from puvae_rt.defenses.protocol import CHUNK


class MagNet:
    """The defense that hands the classifier what a reformer makes of images [N,C,H,W] in [0,1]."""

    def __init__(self, reformer: nn.Module) -> None:
        self.reformer = reformer.eval()

    @torch.no_grad()
    def purify(self, images: Tensor) -> Tensor:
        """The reformed images [N,C,H,W] in [0,1]."""
        return torch.cat([self.reformer(part) for part in torch.split(images, CHUNK)])
