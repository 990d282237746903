"""Where the weights start.

Adversarially trained digit classifiers end with first-layer filters that threshold single pixels (Madry et al. 2018,
appendix C): after x -> clip((x - t) / (1 - 2t), 0, 1) a perturbation below t no longer exists on dark or light pixels.
Reaching such filters from random weights takes most of a training; starting there takes none.
"""

from __future__ import annotations

import torch
from torch import nn

from puvae_rt.errors import ContractError
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import DilatedTrunk

THRESHOLDS = (0.25, 0.45)  # lowest and highest t; a pair of channels for each of several values between
ORDINARY_SHARE = 0.1  # of their usual weight in the second layer, for channels that do not threshold


@torch.no_grad()
def start_from_thresholds(network: nn.Module) -> None:
    """Half of the first layer's channels become pairs relu(g(x - t)), relu(g(x - 1 + t)), g = 1 / (1 - 2t), of which
    the second layer sees the difference: x clipped to [t, 1 - t] and stretched to [0, 1].

    `network` is PuVAE's trunk, or a prior.
    """
    if not isinstance(network, DilatedTrunk | Prior):
        raise ContractError(f"threshold_start: got a {type(network).__name__}, expected a trunk or a prior")
    first, second = network.convs[0], network.convs[1]
    if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.Conv2d):
        raise ContractError("threshold_start: got a trunk of low rank, expected a dense one; factor it after training")
    pairs, center = first.out_channels // 4, first.kernel_size[0] // 2
    for pair, t in enumerate(torch.linspace(*THRESHOLDS, pairs).tolist()):
        gain = 1 / (1 - 2 * t)
        for channel, threshold in ((2 * pair, t), (2 * pair + 1, 1 - t)):
            first.weight[channel] = 0
            first.weight[channel, :, center, center] = gain / first.in_channels
            first.bias[channel] = -gain * threshold  # type: ignore[index]  # there is a bias
        second.weight[:, 2 * pair] *= 2  # half of the inputs carry the signal
        second.weight[:, 2 * pair + 1] = -second.weight[:, 2 * pair]
    second.weight[:, 2 * pairs :] *= ORDINARY_SHARE
