"""Costs of TensorRT's layers, against the multiply-adds counted from the graph."""

from __future__ import annotations

from dataclasses import replace

import pytest

from export.layer_cost import costed
from export.layers import Listed, ListedLayer
from puvae_rt.runtime.manifest import Manifest

K = 10


def tensor(name: str, *sides: int, type: str = "fp16") -> Listed:
    return Listed(name, sides, type)


def layer(kind: str, source: Listed, to: Listed, *weights: Listed) -> ListedLayer:
    return ListedLayer(f"{kind}.{to.name}", kind, (source,), weights, (to,))


# An engine's end: features of N images become K rows each, a deconvolution doubles the side.
HEAD = layer("gemm", tensor("image", -1, 784, type="fp32"), tensor("h", -1, K * 16), tensor("w", 784, K * 16))
DECODER = layer("deconv", tensor("h", -1, 16, 1, 1), tensor("d", -1, 8, 2, 2), tensor("f", 16, 8, 3, 3))
LAST = layer("correlation", tensor("d", -1, 8, 2, 2), tensor("c", -1, 1, 2, 2), tensor("g", 1, 8, 3, 3))
MOVE = layer("kgen", tensor("c", -1, 1, 2, 2), tensor("candidates", -1, K, 1, 2, 2))
KNOWN = {"image": ("N", 784), "candidates": ("N", K, 1, 2, 2)}


def test_the_batch_is_told_from_what_the_tensors_hold() -> None:
    head, decoder, last, move = costed((HEAD, DECODER, LAST, MOVE), KNOWN)
    assert head.macs == 784 * 160
    assert decoder.macs == K * 16 * 8 * 9  # every number in meets 8 x 3 x 3 weights
    assert last.macs == K * 4 * 8 * 9
    assert move.macs == 0
    assert head.tensor_bytes == 784 * 4 + 160 * 2
    assert (decoder.tensor_bytes, decoder.weight_bytes) == (2 * (160 + K * 32), 2 * 16 * 8 * 9)
    assert move.tensor_bytes == 2 * (K * 4) * 2


def test_unknown_sides_cost_nothing_rather_than_something_wrong() -> None:
    older = layer("gemm", tensor("x"), tensor("y"), tensor("weights", 512))
    stranger = ListedLayer("k", "kgen", (tensor("a", -1, 3),), (), (tensor("b", -1, 4),))
    assert [entry.macs for entry in costed((older, stranger), {"image": ("N", 4)})] == [0, 0]


@pytest.mark.slow
def test_the_whole_engine_costs_what_its_graph_does(tmp_path) -> None:
    pytest.importorskip("tensorrt_rtx")
    from export import build

    def built(shortlist: int | None) -> Manifest:
        settings = build.BuildSettings("mnist", tmp_path / str(shortlist), "rtx", "fp16", verify=False)
        return build.build(replace(settings, shortlist=shortlist))[1]

    whole, manifest = built(10), built(None)
    macs, short = (sum(entry.macs for entry in each.engine.layers) for each in (whole, manifest))
    # 143 million of the graph, and the padding of one channel, one label block and the unrolled last layer.
    assert 135e6 < macs < 165e6
    # 63 million are the heads and decoders of ten classes, of which the shipped model computes two.
    assert manifest.shortlist == 2
    assert macs - short == pytest.approx(0.8 * 63e6, rel=0.05)
    weights = sum(entry.weight_bytes for entry in manifest.engine.layers)
    assert weights == pytest.approx(manifest.engine.weight_bytes, rel=0.02)
