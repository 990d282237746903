"""The thresholding start is the function it claims to be."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.models.puvae import PuVAE, split_phases
from puvae_rt.models.spec import Ranks
from puvae_rt.training.initialisation import THRESHOLDS, start_from_thresholds
from tests.tolerances import EXACT_ATOL


@pytest.mark.parametrize("channels", [1, 3])
def test_the_second_layer_sees_clipped_and_stretched_pixels(channels: int) -> None:
    model = PuVAE(ImageContract(channels, 28, 28), 10, Ranks(4, 4))
    start_from_thresholds(model.trunk)
    gray = torch.linspace(0, 1, 784).view(1, 1, 28, 28)
    x = split_phases(gray.expand(1, channels, 28, 28))
    first, second = model.trunk.convs[:2]
    seen = relu(first(x))
    t = THRESHOLDS[0]
    expected = ((split_phases(gray)[:, 0] - t) / (1 - 2 * t)).clamp(0, 1)
    torch.testing.assert_close(seen[:, 0] - seen[:, 1], expected, atol=EXACT_ATOL, rtol=0)
    assert torch.equal(second.weight[:, 0], -second.weight[:, 1])


def test_only_the_convolutional_trunk_can_start_so() -> None:
    with pytest.raises(ContractError, match="got a Flatten"):
        start_from_thresholds(nn.Flatten())
