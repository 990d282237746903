"""Defenses without anything learned, which whatever is learned has to beat.

Bit depth and median are Xu et al. 2018 ("feature squeezing"), JPEG is Dziugaite et al. 2016 and Guo et al. 2018; the
threshold is what one bit a channel comes to.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from puvae_rt.errors import ContractError


@dataclass(frozen=True)
class Threshold:
    """Every pixel above `level` becomes 1, every other 0. Raises ContractError unless 0 < level < 1."""

    level: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ContractError(f"level={self.level}: expected 0 < level < 1 (pixels are in [0, 1])")

    def purify(self, images: Tensor) -> Tensor:
        """Black and white images of `images` [N,C,H,W] in [0,1], channel by channel."""
        return (images > self.level).to(images.dtype)


@dataclass(frozen=True)
class BitDepth:
    """Every pixel takes the nearest of 2**bits evenly spaced levels.

    The bits are Xu et al.'s: 1 for MNIST, 4 or 5 for color, of which 4 removes more. Raises ContractError unless both
    are 1 to 8.
    """

    gray_bits: int = 1
    color_bits: int = 4

    def __post_init__(self) -> None:
        for name, bits in vars(self).items():
            if not 1 <= bits <= 8:
                raise ContractError(f"{name}={bits}: expected 1 to 8 a channel")

    def purify(self, images: Tensor) -> Tensor:
        """Images of few levels of `images` [N,C,H,W] in [0,1]; gray ones are those with C 1."""
        bits = self.gray_bits if images.shape[1] == 1 else self.color_bits
        steps = (1 << bits) - 1
        return (images * steps).round() / steps


@dataclass(frozen=True)
class Jpeg:
    """Every image is stored as a JPEG and read back. Raises ContractError unless 1 <= quality <= 100."""

    quality: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ContractError(f"quality={self.quality}: expected 1 to 100")

    def purify(self, images: Tensor) -> Tensor:
        """What is left of `images` [N,C,H,W] in [0,1], C 1 (gray) or 3 (RGB), in 256 levels."""
        if images.shape[1] not in (1, 3):
            raise ContractError(f"{images.shape[1]} channels: a JPEG has 1 (gray) or 3 (RGB)")
        levels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # [N,H,W,C]
        read = np.stack([self._stored(image) for image in levels])
        return torch.from_numpy(read).permute(0, 3, 1, 2).to(images) / 255

    def _stored(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One image [H,W,C] after the compression; OpenCV's channels are BGR."""
        bgr = np.ascontiguousarray(image[..., ::-1])
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8).reshape(image.shape)[..., ::-1]


@dataclass(frozen=True)
class Median:
    """Every pixel becomes the median of the `window` x `window` round it, where the border is repeated.

    Raises ContractError unless the window is odd and at least 3 wide.
    """

    window: int = 3

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0:
            raise ContractError(f"window={self.window}: expected an odd number of pixels >= 3")

    def purify(self, images: Tensor) -> Tensor:
        """The smoothed images of `images` [N,C,H,W], channel by channel."""
        padded = F.pad(images, (self.window // 2,) * 4, mode="replicate")
        windows = padded.unfold(2, self.window, 1).unfold(3, self.window, 1)  # [N,C,H,W,window,window]
        return windows.flatten(4).median(dim=4).values
