"""PuVAE: Table 1 of Hwang et al. 2019, "PuVAE: A Variational Autoencoder to Purify Adversarial Examples".

The label enters at the two fully connected layers only (see CONTRIBUTING.md, "Decisions"): the convolutional
trunk then depends on the image alone, and a K-class projection runs it once instead of K times.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from puvae_rt._moved import GONE_IN, renamed
from puvae_rt.contract import ImageContract
from puvae_rt.models.spec import (
    CONTRAST_EPSILON,
    CONTRAST_SPAN,
    DECODER_GRID,
    HIDDEN,
    KERNEL,
    LATENT,
    WIDTH,
    Ranks,
    output_paddings,
)


class Posterior(NamedTuple):
    """q(z | x, y): a diagonal Gaussian; `sigma` is the standard deviation itself, not a log-variance."""

    mu: Tensor  # [N, LATENT]
    sigma: Tensor  # [N, LATENT], > 0

    def sample(self) -> Tensor:
        """A code z [N, LATENT] drawn from the Gaussian, with PyTorch's global generator."""
        return self.mu + self.sigma * torch.randn_like(self.sigma)


class ImageStats(NamedTuple):
    """Mean and deviation of each channel of an image: what normalizing its contrast takes away."""

    mean: Tensor  # [N,C,1,1], of each channel
    deviation: Tensor  # [N,C,1,1], > 0

    @staticmethod
    def of(x: Tensor) -> ImageStats:
        """The statistics of images [N,C,H,W]."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
        return ImageStats(mean, (variance + CONTRAST_EPSILON).sqrt())

    def repeat(self, count: int) -> ImageStats:
        """Each image's `count` times, side by side."""
        return ImageStats(*(part.repeat_interleave(count, dim=0) for part in self))

    def normalize(self, x: Tensor) -> Tensor:
        """The images [N,C,H,W] with mean 0 and variance 1 in every channel."""
        return (x - self.mean) / self.deviation

    def denormalize(self, decoded: Tensor) -> Tensor:
        """A decoder's output [N,C,H,W], gray at .5, with this mean and deviation; in [0,1]."""
        return (self.mean + CONTRAST_SPAN * self.deviation * (decoded - 0.5)).clamp(0, 1)

    def decoder_target(self, x: Tensor) -> Tensor:
        """What a decoder is to make of the images [N,C,H,W]: the inverse of `denormalize`, in [0,1]."""
        return (0.5 + self.normalize(x) / CONTRAST_SPAN).clamp(0, 1)

    def error_scale(self) -> Tensor:
        """How many times larger a squared difference is between images than between decoder outputs, [N]."""
        return (CONTRAST_SPAN * self.deviation).square().mean(dim=(1, 2, 3))

    def __getattr__(self, name: str) -> Any:
        """The methods by their old names, until 0.3."""
        old = {"remove": "normalize", "give": "denormalize", "picture": "decoder_target", "power": "error_scale"}
        if name not in old:
            raise AttributeError(f"ImageStats has no attribute {name!r}")
        message = f"ImageStats.{name} is now {old[name]}; the old name goes in {GONE_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return getattr(self, old[name])


class DilatedTrunk(nn.Module):
    """Three 7x7 convolutions of dilation 2, evaluated as ordinary convolutions on the four parity phases.

    With dilation 2, "same" padding and even sides, pixels of different parity never meet, so
    [N,C,H,W] -> [4N,C,H/2,W/2] once, convolutions with padding 3, and back is the same function, twice as fast.
    """

    def __init__(self, channels: int, rank: int | None = None) -> None:
        super().__init__()
        ins, ranks = (channels, WIDTH, WIDTH), (None, rank, rank)  # the first has too few inputs to gain by a rank
        self.convs = nn.ModuleList(convolution(c, r) for c, r in zip(ins, ranks, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """The features [N, WIDTH*H*W] of images [N,C,H,W] with even sides."""
        h, w = x.shape[2:]
        x = split_phases(x)  # [4N, C, H/2, W/2]
        for conv in self.convs:
            x = F.relu(conv(x))
        return merge_phases(x, h, w).flatten(1)  # [N, WIDTH*H*W]


def split_phases(x: Tensor) -> Tensor:
    """[N,C,H,W] -> [N*4,C,H/2,W/2], phase index 2*(row parity) + (column parity) fastest after the image."""
    n, c, h, w = x.shape
    phases = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)  # [N, 2, 2, C, H/2, W/2]
    return phases.reshape(4 * n, c, h // 2, w // 2)


def merge_phases(x: Tensor, h: int, w: int) -> Tensor:
    """The inverse of `split_phases`: [N*4,C,H/2,W/2] -> [N,C,H,W]."""
    c = x.shape[1]
    phases = x.view(-1, 2, 2, c, h // 2, w // 2).permute(0, 3, 4, 1, 5, 2)  # [N, C, H/2, 2, W/2, 2]
    return phases.reshape(-1, c, h, w)


def convolution(inputs: int, rank: int | None) -> nn.Module:
    """A 7x7 convolution to WIDTH channels with padding 3, dense or a 7x1 to `rank` channels and a 1x7 behind it."""
    half = KERNEL // 2
    if rank is None:
        return nn.Conv2d(inputs, WIDTH, KERNEL, padding=half)
    columns = nn.Conv2d(inputs, rank, (KERNEL, 1), padding=(half, 0), bias=False)
    return nn.Sequential(columns, nn.Conv2d(rank, WIDTH, (1, KERNEL), padding=(0, half)))


def linear(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    """A fully connected layer, dense or of the given rank."""
    if rank is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


class PuVAE(nn.Module):
    """Conditional VAE that projects an image on the manifold of a class.

    Args:
        contract: channels, height, width of the images, values in [0, 1].
        classes: K, the number of classes (>= 2).
        ranks: of FC1, FC2 and the trunk; dense by default.
        normalized: for pictures taken in any light. The trunk sees every channel at mean 0 and variance 1, and the
            projections are given the image's own mean and deviation back.
    """

    def __init__(self, contract: ImageContract, classes: int, ranks: Ranks = Ranks(), normalized: bool = False) -> None:
        super().__init__()
        self.contract, self.classes, self.ranks, self.normalized = contract, classes, ranks, normalized
        features = WIDTH * contract.height * contract.width
        self.trunk: nn.Module = DilatedTrunk(contract.channels, ranks.trunk)
        self.fc1_image = linear(features, HIDDEN, ranks.fc1)
        self.fc1_label = nn.Linear(classes, HIDDEN, bias=False)
        self.fc2 = linear(HIDDEN, HIDDEN, ranks.fc2)
        self.fc3 = nn.Linear(HIDDEN, 2 * LATENT)
        self.decoder_fc = nn.Linear(LATENT + classes, WIDTH * DECODER_GRID**2)
        outs = (WIDTH, WIDTH, contract.channels)
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(WIDTH, c, KERNEL, stride=2, padding=KERNEL // 2, output_padding=p)
            for c, p in zip(outs, output_paddings(contract.height), strict=True)
        )

    def image_stats(self, x: Tensor) -> ImageStats | None:
        """What `decode` needs to know of images [N,C,H,W] besides their codes; None unless `normalized`."""
        return ImageStats.of(x) if self.normalized else None

    def light(self, x: Tensor) -> ImageStats | None:
        """`image_stats` by its old name, until 0.3."""
        message = f"PuVAE.light is now image_stats; the old name goes in {GONE_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.image_stats(x)

    def seen(self, x: Tensor) -> Tensor:
        """Images [N,C,H,W] as the trunk sees them."""
        stats = self.image_stats(x)
        return x if stats is None else stats.normalize(x)

    def features(self, x: Tensor) -> Tensor:
        """The class-independent half of the encoder, W1a T(x) + b1 [N, HIDDEN], of x [N,C,H,W] in [0,1]."""
        return self.fc1_image(self.trunk(self.seen(x)))  # type: ignore[no-any-return]

    def head(self, features: Tensor, onehot: Tensor) -> Posterior:
        """q(z | x, y) of `features` [N, HIDDEN] and classes, onehot [N, K]."""
        hidden = F.relu(self.fc2(F.relu(features + self.fc1_label(onehot))))
        mu, raw = self.fc3(hidden).float().chunk(2, dim=1)
        return Posterior(mu, F.softplus(raw))

    def encode(self, x: Tensor, onehot: Tensor) -> Posterior:
        """q(z | x, y) of images x [N,C,H,W] in [0,1] and their classes, onehot [N, K]."""
        return self.head(self.features(x), onehot)

    def decode_logits(self, z: Tensor, onehot: Tensor) -> Tensor:
        """The decoder's output [N,C,H,W] before its sigmoid, of codes z [N, LATENT] and classes, onehot [N, K].

        Where contrast is normalized, its sigmoid has yet to be given the image's mean and deviation.
        """
        x = F.relu(self.decoder_fc(torch.cat([z, onehot], dim=1)))
        x = x.view(-1, WIDTH, DECODER_GRID, DECODER_GRID)
        for deconv in self.deconvs[:-1]:
            x = F.relu(deconv(x))
        return self.deconvs[-1](x).float()  # type: ignore[no-any-return]

    def decode(self, z: Tensor, onehot: Tensor, stats: ImageStats | None = None) -> Tensor:
        """The projections [N,C,H,W] in [0,1] of codes z [N, LATENT] on classes, onehot [N, K].

        `stats` are `image_stats` of the N images, or None.
        """
        decoded = torch.sigmoid(self.decode_logits(z, onehot))
        return decoded if stats is None else stats.denormalize(decoded)

    def project(
        self, x: Tensor, noise: Tensor | None = None, sigma_eps: float = 0.0, classes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The projection of every image on every class, or on m classes of its own.

        Args:
            x: [N,C,H,W] in [0,1].
            noise: [N,m,LATENT] standard normal; needed when `sigma_eps` > 0.
            sigma_eps: scale of the sampling noise (the paper: 0.1; deployed default: 0).
            classes: [N,m], of each image; by default all K.
        Returns:
            candidates [N,m,C,H,W] and KL(q(z|x,k) || N(0,1)) [N,m].
        """
        n, k = len(x), self.classes if classes is None else classes.shape[1]
        q = self.encode_all(x, classes)
        z = q.mu
        if sigma_eps > 0:
            if noise is None:
                raise ValueError(f"sigma_eps={sigma_eps} needs noise of shape [{n},{k},{LATENT}]: got None")
            z = z + sigma_eps * q.sigma * noise.reshape(n * k, LATENT)
        return self.decode_all(z, x, classes), gaussian_kl(q).view(n, k)

    def encode_all(self, x: Tensor, classes: Tensor | None = None) -> Posterior:
        """q(z | x, k) [N*m, LATENT] of images [N,C,H,W] and all K classes or the m in `classes` [N,m], side by side."""
        onehot = self._onehot(x, classes)
        return self.head(self.features(x).repeat_interleave(len(onehot) // len(x), dim=0), onehot)

    def decode_all(self, z: Tensor, x: Tensor, classes: Tensor | None = None) -> Tensor:
        """z [N*m, LATENT], in the order of `encode_all`, and their images -> candidates [N,m,C,H,W]."""
        onehot, stats = self._onehot(x, classes), self.image_stats(x)
        count = len(onehot) // len(x)
        candidates = self.decode(z, onehot, stats and stats.repeat(count))
        return candidates.view(len(x), count, *x.shape[1:])

    def _onehot(self, x: Tensor, classes: Tensor | None) -> Tensor:
        """The labels that each of the images [N,C,H,W] is given, all K or its m in `classes`, [N*m, K]."""
        every = torch.eye(self.classes, dtype=x.dtype, device=x.device)
        return every.repeat(len(x), 1) if classes is None else every[classes.flatten()]


def gaussian_kl(q: Posterior) -> Tensor:
    """KL(q || N(0,1)) = 1/2 sum(mu^2 + sigma^2 - log sigma^2 - 1), [N] (equation 9 with its slips mended)."""
    return 0.5 * (q.mu**2 + q.sigma**2 - 2 * torch.log(q.sigma) - 1).sum(dim=1)


__getattr__ = renamed(__name__, {"Light": "ImageStats"})
