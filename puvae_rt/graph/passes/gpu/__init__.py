"""Fewer, fatter kernels: exact rewrites for TensorRT, each named after what its layer listing showed.

A launch costs more than the arithmetic of these layers at batch 1, so each pass trades some weight bytes or
multiplications for one kernel less. They run on a graph that ends in `candidates`, after the passes of
`puvae_rt.graph.passes`.
"""

from __future__ import annotations

from puvae_rt.contract import Score
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes import Pass, apply
from puvae_rt.graph.passes.gpu.carry import carry_labels
from puvae_rt.graph.passes.gpu.channels_last import channels_last_decoder, channels_last_features
from puvae_rt.graph.passes.gpu.grid import decoder_as_deconv
from puvae_rt.graph.passes.gpu.linear import merge_linear, tile_classes
from puvae_rt.graph.passes.gpu.merge_convs import merge_convolutions
from puvae_rt.graph.passes.gpu.pad import pad_channels
from puvae_rt.graph.passes.gpu.rows import unroll_last_deconv

GPU: dict[str, Pass] = {
    "merge_convolutions": merge_convolutions,
    "pad_channels": pad_channels,
    "channels_last_features": channels_last_features,
    "merge_linear": merge_linear,
    "carry_labels": carry_labels,
    "tile_classes": tile_classes,
    "decoder_as_deconv": decoder_as_deconv,
    "channels_last_decoder": channels_last_decoder,
    "unroll_last_deconv": unroll_last_deconv,
}
# With a plain mu (nothing between it and the decoder, nobody else who reads it) the layers round it become one, and
# the decoder's first layer stands alone; otherwise its label table stays in the way.
PLAIN_MU = {"carry_labels", "decoder_as_deconv"}
OTHER_MU = {"channels_last_decoder"}
ALL_CLASSES = {"tile_classes"}  # whose rows are the bias of one layer: a shortlist's are another image by image


def gpu_passes(score: Score, sigma_eps: float, shortlist: int | None = None) -> tuple[str, ...]:
    """Names of the passes that apply, in order; `shortlist` is how many classes are decoded, None all."""
    plain = sigma_eps == 0 and score.kl_weight == 0
    absent = (OTHER_MU if plain else PLAIN_MU) | (ALL_CLASSES if shortlist is not None else set())
    return tuple(name for name in GPU if name not in absent)


def apply_gpu(graph: Graph, passes: tuple[str, ...]) -> Graph:
    """A copy of a graph that ends in candidates, rewritten by `passes` in their order."""
    return apply(graph, passes, GPU)
