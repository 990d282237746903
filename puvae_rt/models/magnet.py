"""MagNet's reformer: Meng and Chen 2017, "MagNet: a two-pronged defense against adversarial examples", section 5.

A denoising autoencoder whose output replaces the image. MagNet's detectors, which refuse images, are not compared.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from puvae_rt.contract import ImageContract

CHANNELS, KERNEL = 3, 3


class Reformer(NamedTuple):
    """One of MagNet's two autoencoders: its training noise and whether it pools."""

    noise: float  # standard deviation on the training input
    pooling: bool


GRAY, COLOUR = Reformer(noise=0.1, pooling=True), Reformer(noise=0.025, pooling=False)


def reformer_of(contract: ImageContract) -> Reformer:
    """The reformer of these images: the one for MNIST on gray images, the one for CIFAR-10 on color."""
    return GRAY if contract.channels == 1 else COLOUR


def reformer(contract: ImageContract) -> nn.Sequential:
    """The autoencoder: images [N,C,H,W] in [0,1] -> the same shape in [0,1]."""
    inputs = contract.channels
    if not reformer_of(contract).pooling:
        return nn.Sequential(*_conv(inputs, CHANNELS), *_conv(CHANNELS, CHANNELS), *_conv(CHANNELS, inputs))
    return nn.Sequential(
        *_conv(inputs, CHANNELS),
        nn.AvgPool2d(2),  # [N,3,H/2,W/2]
        *_conv(CHANNELS, CHANNELS),
        *_conv(CHANNELS, CHANNELS),
        nn.Upsample(scale_factor=2),
        *_conv(CHANNELS, CHANNELS),
        *_conv(CHANNELS, inputs),
    )


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, KERNEL, padding=KERNEL // 2), nn.Sigmoid()
