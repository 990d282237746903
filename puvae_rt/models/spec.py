"""The numbers of the paper's tables of layers, shared by the PyTorch models and the exporter (which needs none)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from puvae_rt.errors import ContractError

WIDTH = 32  # channels of every hidden convolution
KERNEL = 7
DILATION = 2
HIDDEN = 1024
LATENT = 32
DECODER_GRID = 4  # the decoder starts from WIDTH x 4 x 4
SIDES = (28, 32)  # square image sides that the decoder reaches from its 4x4 grid


def output_paddings(side: int) -> tuple[int, int, int]:
    """Output padding of the three stride-2 transposed convolutions: 4->7->14->28 or 4->8->16->32."""
    if side not in SIDES:
        raise ValueError(f"image side {side}: PuVAE is defined for {SIDES} pixels; resize the images")
    return (0, 1, 1) if side == 28 else (1, 1, 1)


class Ranks(NamedTuple):
    """Ranks of the layers that may be products of two thin ones; None is Table 1's dense layer."""

    fc1: int | None = None  # of the image half of FC1
    fc2: int | None = None
    trunk: int | None = None  # of the second and third convolution: 7x1 to that many channels, then 1x7


RANK_LIMITS = Ranks(fc1=HIDDEN, fc2=HIDDEN, trunk=KERNEL * WIDTH)  # ranks of the dense layers


def check_ranks(ranks: Ranks) -> None:
    """Raises ContractError when a rank is as large as its layer, or not positive."""
    for name, rank in ranks._asdict().items():
        limit = getattr(RANK_LIMITS, name)
        if rank is not None and not 0 < rank < limit:
            raise ContractError(f"rank of {name}: got {rank}, expected 1 to {limit - 1} (--{name}, or --ranks)")


class Conv(NamedTuple):
    """A convolution with "same" padding: its output channels, the side of its square kernel, and its stride."""

    channels: int
    kernel: int
    stride: int


class Architecture(NamedTuple):
    """The layers of a classifier: convolutions, then fully connected layers, then one to the classes."""

    convs: tuple[Conv, ...]
    dropout: float  # before each fully connected block
    hidden: tuple[tuple[int, float], ...]  # (units, dropout after them)


CONV_DROPOUT, FC_DROPOUT = 0.25, 0.5
CONTRAST_EPSILON = 1e-4  # added to the variance where contrast is normalised: flat images stay flat
CONTRAST_SPAN = 6.0  # standard deviations of a channel from the darkest to the lightest value that a decoder paints
ARCHITECTURES = {
    "A": Architecture((Conv(64, 5, 1), Conv(64, 5, 2)), CONV_DROPOUT, ((128, FC_DROPOUT),)),
    "B": Architecture((Conv(128, 3, 1), Conv(64, 3, 2)), CONV_DROPOUT, ((128, FC_DROPOUT),)),
    "C": Architecture(
        (Conv(64, 5, 1), Conv(128, 5, 1), Conv(256, 5, 2)), CONV_DROPOUT, ((512, FC_DROPOUT), (256, 0.0))
    ),
    "D": Architecture((Conv(128, 3, 1), Conv(256, 3, 1), Conv(512, 3, 2)), CONV_DROPOUT, ((512, FC_DROPOUT),)),
}
# Never defended: S1 and S2 are attacked while a prior trains, V1 while its weight in the score is chosen.
SOURCE_ARCHITECTURES = {
    "S1": Architecture((Conv(16, 3, 1), Conv(32, 3, 2), Conv(32, 3, 1), Conv(64, 3, 2)), CONV_DROPOUT, ((128, 0.0),)),
    "S2": Architecture((Conv(32, 5, 2), Conv(64, 5, 2)), CONV_DROPOUT, ((256, FC_DROPOUT),)),
    "V1": Architecture((Conv(32, 7, 2), Conv(48, 3, 1), Conv(64, 3, 2)), CONV_DROPOUT, ((128, FC_DROPOUT),)),
}


MAX_PRIOR_CONVS = 32


@dataclass(frozen=True)
class PriorLayers:
    """The layers of a prior: 3x3 convolutions with "same" padding, a fully connected layer, one to the classes."""

    convs: tuple[tuple[int, int], ...]  # (channels, stride)
    hidden: int

    def __post_init__(self) -> None:
        convs = [0 < channels <= HIDDEN and stride in (1, 2) for channels, stride in self.convs]
        if not (0 < len(convs) <= MAX_PRIOR_CONVS and all(convs) and 0 < self.hidden <= HIDDEN):
            raise ContractError(
                f"convs={self.convs}, hidden={self.hidden}: expected 1 to {MAX_PRIOR_CONVS} convolutions of 1 to "
                f"{HIDDEN} channels and stride 1 or 2, and 1 to {HIDDEN} hidden units"
            )


PRIOR_KERNEL = 3
# By the images' channels: 5.7 million products for a 28x28 gray image, 13.7 million for a 32x32 color one.
PRIORS = {
    1: PriorLayers(((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)), 64),
    3: PriorLayers(((32, 2), (48, 1), (96, 2), (96, 1), (128, 2)), 128),
}
