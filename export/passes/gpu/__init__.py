"""Fewer, fatter kernels: exact rewrites for TensorRT, each named after what its layer listing showed.

A launch costs more than the arithmetic of these layers at batch 1, so each pass trades some weight bytes or
multiplications for one kernel less. They run on a graph that ends in `candidates`, after the passes of
`export.passes`.
"""

from __future__ import annotations

from export.passes import Pass
from export.passes.gpu.carry import carry_labels
from export.passes.gpu.channels_last import channels_last_decoder, channels_last_features
from export.passes.gpu.linear import merge_mu, tile_classes
from export.passes.gpu.pad import pad_channels
from export.passes.gpu.rows import unroll_last_deconv

GPU: dict[str, Pass] = {
    "pad_channels": pad_channels,
    "channels_last_features": channels_last_features,
    "merge_mu": merge_mu,
    "carry_labels": carry_labels,
    "tile_classes": tile_classes,
    "channels_last_decoder": channels_last_decoder,
    "unroll_last_deconv": unroll_last_deconv,
}
