"""The numbers of Table 1, shared by the PyTorch model and the exporter (which does not need PyTorch)."""

from __future__ import annotations

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
