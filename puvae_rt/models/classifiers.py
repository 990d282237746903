"""Classifiers A to D of the paper (its Table 7, after Defense-GAN): every convolution is followed by a ReLU."""

from __future__ import annotations

from torch import nn

from puvae_rt.contract import ImageContract
from puvae_rt.models.spec import ARCHITECTURES, CONTRAST_EPSILON, SOURCE_ARCHITECTURES


def classifier(name: str, contract: ImageContract, classes: int, normalized: bool = False) -> nn.Sequential:
    """Classifier `name`: images [N,C,H,W] in [0,1] -> logits [N, classes].

    `name`: "A" to "D", or one of `SOURCE_ARCHITECTURES`.
    `normalized`: every channel of every image is brought to mean 0 and variance 1 first, for pictures taken in any
    light. Names of parameters are the same.
    """
    arch = (ARCHITECTURES | SOURCE_ARCHITECTURES)[name]
    model = nn.Sequential()
    if normalized:
        model.add_module("contrast", nn.InstanceNorm2d(contract.channels, eps=CONTRAST_EPSILON))
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
    layers.append(nn.Linear(features, classes))
    for position, layer in enumerate(layers):
        model.add_module(str(position), layer)
    return model
