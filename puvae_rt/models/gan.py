"""Defense-GAN's generator and critic: Samangouei et al. 2018, with the WGAN-GP of Gulrajani et al. 2017."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError

LATENT = 128
GRID = 4  # the generator starts from 256 x 4 x 4
WIDTHS = (256, 128, 64)  # of the generator, from the code to the image
CRITIC_WIDTHS = (32, 64, 128)  # half the authors': a step of training in half the time
KERNEL = 5
SLOPE = 0.2  # of the critic's leaky ReLU
SIDES = (28, 32)


class Generator(nn.Module):
    """z [N,128] -> images [N,C,H,W] in [0,1]; sides 4 -> 8 -> 16 -> 32, or cropped 8 -> 7 -> 14 -> 28."""

    def __init__(self, contract: ImageContract) -> None:
        super().__init__()
        _check(contract)
        self.contract = contract
        self.fc = nn.Linear(LATENT, WIDTHS[0] * GRID**2)
        outs = (*WIDTHS[1:], contract.channels)
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(i, o, KERNEL, stride=2, padding=KERNEL // 2, output_padding=1)
            for i, o in zip(WIDTHS, outs, strict=True)
        )

    def forward(self, z: Tensor) -> Tensor:
        """The images [N,C,H,W] in [0,1] of codes z [N,128]."""
        x = torch.relu(self.fc(z)).view(-1, WIDTHS[0], GRID, GRID)
        x = torch.relu(self.deconvs[0](x))  # [N,128,8,8]
        quarter = self.contract.height // 4
        x = torch.relu(self.deconvs[1](x[:, :, :quarter, :quarter]))
        return torch.sigmoid(self.deconvs[2](x).float())


class Critic(nn.Module):
    """Images [N,C,H,W] -> scores [N]; no normalisation, as the gradient penalty is per image."""

    def __init__(self, contract: ImageContract) -> None:
        super().__init__()
        _check(contract)
        layers: list[nn.Module] = []
        for i, o in itertools.pairwise((contract.channels, *CRITIC_WIDTHS)):
            layers += [nn.Conv2d(i, o, KERNEL, stride=2, padding=KERNEL // 2), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(CRITIC_WIDTHS[-1] * GRID**2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The scores [N] of images [N,C,H,W]; larger is more like a real one."""
        return self.layers(x).float().squeeze(1)  # type: ignore[no-any-return]


def _check(contract: ImageContract) -> None:
    if contract.height != contract.width or contract.height not in SIDES:
        raise ContractError(
            f"images of {contract.height}x{contract.width}: Defense-GAN takes squares of {SIDES} pixels"
        )
