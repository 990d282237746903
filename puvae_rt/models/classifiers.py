"""Classifiers A to D of the paper (its Table 7, after Defense-GAN): every convolution is followed by a ReLU."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from puvae_rt.contract import ImageContract


class Conv(NamedTuple):
    channels: int
    kernel: int
    stride: int


class Architecture(NamedTuple):
    convs: tuple[Conv, ...]
    dropout: float  # before each fully connected block
    hidden: tuple[tuple[int, float], ...]  # (units, dropout after them)


CONV_DROPOUT, FC_DROPOUT = 0.25, 0.5
ARCHITECTURES = {
    "A": Architecture((Conv(64, 5, 1), Conv(64, 5, 2)), CONV_DROPOUT, ((128, FC_DROPOUT),)),
    "B": Architecture((Conv(128, 3, 1), Conv(64, 3, 2)), CONV_DROPOUT, ((128, FC_DROPOUT),)),
    "C": Architecture(
        (Conv(64, 5, 1), Conv(128, 5, 1), Conv(256, 5, 2)), CONV_DROPOUT, ((512, FC_DROPOUT), (256, 0.0))
    ),
    "D": Architecture((Conv(128, 3, 1), Conv(256, 3, 1), Conv(512, 3, 2)), CONV_DROPOUT, ((512, FC_DROPOUT),)),
}


def classifier(name: str, contract: ImageContract, classes: int) -> nn.Sequential:
    """Classifier `name` ("A" to "D"): images [N,C,H,W] in [0,1] -> logits [N, classes]."""
    arch = ARCHITECTURES[name]
    layers: list[nn.Module] = []
    channels, side = contract.channels, contract.height
    for conv in arch.convs:
        layers += [nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, conv.kernel // 2), nn.ReLU()]
        channels, side = conv.channels, -(-side // conv.stride)
    layers += [nn.Dropout(arch.dropout), nn.Flatten()]
    features = channels * side * side
    for units, dropout in arch.hidden:
        layers += [nn.Linear(features, units), nn.ReLU(), nn.Dropout(dropout)]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, classes))
