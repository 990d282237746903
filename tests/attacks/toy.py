"""A trained classifier small enough to attack in milliseconds, and the images it knows."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES, SHAPE = 4, (1, 28, 28)


class Toy(NamedTuple):
    classifier: nn.Module  # [N,1,28,28] -> [N,4]
    images: Tensor  # [N,1,28,28] in [0,1], not seen in training
    labels: Tensor  # [N]


@cache
def toy(count: int = 100) -> Toy:
    """A small convolutional network on four blurred random templates under noise; frozen, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        coarse = torch.rand(CLASSES, 1, 7, 7)
        templates = F.interpolate(coarse, SHAPE[1:], mode="bilinear").clamp(0, 1)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(8, 8, 5, 2, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(392, CLASSES),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(80):
            images, labels = _draw(templates, 64)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        images, labels = _draw(templates, count)
    return Toy(model.eval().requires_grad_(False), images, labels)


def _draw(templates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    labels = torch.randint(0, CLASSES, (count,))
    return (0.6 * templates[labels] + 0.4 * torch.rand(count, *SHAPE)).clamp(0, 1), labels
