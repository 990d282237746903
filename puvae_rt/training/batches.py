"""The mini-batches of a training, in an order that is the same on every device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from puvae_rt.data import Split
from puvae_rt.training.recipes import Schedule

Take = Callable[[Tensor], tuple[Tensor, Tensor]]  # places [B] -> images [B,C,H,W] in [0,1], labels [B]
LEVELS = 255.0


def batch_places(images: int, schedule: Schedule, batch: int) -> Tensor:
    """The places [B] of mini-batch number `batch`: a new seeded permutation every epoch, rests dropped."""
    epoch, place = divmod(batch, images // schedule.batch)
    generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + epoch)
    order = torch.randperm(images, generator=generator)
    return order[place * schedule.batch : (place + 1) * schedule.batch]


def taker(split: Split, device: torch.device) -> Take:
    """What takes images and labels out of a split onto the device."""
    return _from_host(split) if device.type == "cpu" else from_device(split, device)


def _from_host(split: Split) -> Take:
    def take(places: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = split.batch(places.numpy())
        return torch.from_numpy(images), torch.from_numpy(labels)

    return take


def from_device(split: Split, device: torch.device) -> Take:
    """As `taker`, with the whole split in the device's memory, a byte a pixel: gathered and scaled there."""
    images, labels = torch.tensor(split.images, device=device), torch.tensor(split.labels, device=device)
    levels = torch.tensor(LEVELS, device=device)  # there, it is divided by; a plain number's reciprocal is multiplied

    def take(places: Tensor) -> tuple[Tensor, Tensor]:
        there = places.to(device)
        return images[there].float() / levels, labels[there]

    return take
