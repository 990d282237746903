"""The prior p(k | x): a small convolutional network that ranks the classes of an image before any is decoded.

It is trained for robustness on its own loss (`puvae_rt.training.prior`); its log probabilities enter the selection
score as a bias (`puvae_rt.models.score`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from puvae_rt.contract import ImageContract
from puvae_rt.models.puvae import ImageStats
from puvae_rt.models.spec import PRIOR_KERNEL, PriorLayers


class Prior(nn.Module):
    """Class logits of an image, from 3x3 convolutions with ReLU and two fully connected layers.

    Args:
        contract: channels, height, width of the images, values in [0, 1].
        classes: K, the number of classes.
        layers: channels and strides of the convolutions, units of the hidden layer.
        normalized: whether every channel of every image is brought to mean 0 and variance 1 first.
        batch_norm: whether the convolutions are followed by batch normalization, as in training; `folded` removes it.
        linear_start: of the convolutions, how many go without it.
    """

    def __init__(
        self,
        contract: ImageContract,
        classes: int,
        layers: PriorLayers,
        normalized: bool = False,
        batch_norm: bool = False,
        linear_start: int = 0,
    ) -> None:
        super().__init__()
        self.contract, self.classes, self.layers, self.normalized = contract, classes, layers, normalized
        convs, norms = nn.ModuleList(), nn.ModuleList()
        channels, height, width = contract.shape
        for place, (outputs, stride) in enumerate(layers.convs):
            normed = batch_norm and place >= linear_start
            convs.append(nn.Conv2d(channels, outputs, PRIOR_KERNEL, stride, PRIOR_KERNEL // 2))
            norms.append(nn.BatchNorm2d(outputs) if normed else nn.Identity())
            channels, height, width = outputs, -(-height // stride), -(-width // stride)
        self.convs, self.norms = convs, norms
        self.hidden = nn.Linear(channels * height * width, layers.hidden)
        self.out = nn.Linear(layers.hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits [N,K] of images x [N,C,H,W] in [0,1]."""
        x = ImageStats.of(x).normalize(x) if self.normalized else x
        x = x.contiguous(memory_format=torch.channels_last)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return self.out(F.relu(self.hidden(x.flatten(1)))).float()  # type: ignore[no-any-return]

    def log_probabilities(self, x: Tensor) -> Tensor:
        """log p(k | x), [N,K], of images x [N,C,H,W] in [0,1]."""
        return self(x).log_softmax(dim=1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def folded(self) -> Prior:
        """The same function of this prior in evaluation mode, its batch normalization folded into the convolutions."""
        twin = Prior(self.contract, self.classes, self.layers, self.normalized).to(self.out.weight.device)
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("norms.")}
        twin.load_state_dict(own)
        for conv, norm in zip(twin.convs, self.norms, strict=True):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            mean, variance = norm.running_mean, norm.running_var
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None and mean is not None and variance is not None
            gain = norm.weight / (variance + norm.eps).sqrt()
            conv.weight *= gain.view(-1, 1, 1, 1)
            conv.bias.copy_((conv.bias - mean) * gain + norm.bias)
        return twin.eval()
