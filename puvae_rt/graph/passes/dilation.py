"""Turn dilation into batch: with dilation 2, "same" padding and even sides, pixels of different parity never meet.

The four parity phases of an image become four images of half the side, once; the dilated convolutions become
ordinary ones with the same weights; the way back is a permutation of the next Gemm's columns, done here.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Constant, Graph, attributes, walk_single
from puvae_rt.graph.passes.patterns import absent


def dilation_to_batch(graph: Graph) -> None:
    """Run the dilated convolutions as ordinary ones on the four parity phases; BuildError when there are none."""
    convs, flatten = _dilated_chain(graph)
    height, width = _sides(graph, convs[0])
    gemm = _reader_of_features(graph, flatten)
    channels = graph.value(convs[-1].input[1]).shape[0]
    convs[0].input[0] = _split(graph, convs[0].input[0], graph.value(convs[0].input[1]).shape[1], height, width)
    for conv in convs:
        _undilate(conv)
    source, name = flatten.input[0], flatten.output[0]
    graph.remove(flatten)
    graph.reshape(source, (-1, channels * height * width), name)  # [4N,c,h/2,w/2] -> [N, 4*c*h/2*w/2]
    permuted = phase_columns(graph.value(gemm.input[1]), channels, height, width)
    gemm.input[1] = graph.constant(f"{gemm.output[0]}.phases", permuted, permuted.dtype)


def phase_columns(matrix: Constant, channels: int, height: int, width: int) -> Constant:
    """The columns of a weight from (channel, row, column) to (row parity, column parity, channel, row/2, column/2).

    Columns beyond channels*height*width (labels) stay where they are.
    """
    pixels = channels * height * width
    grid = matrix[:, :pixels].reshape(-1, channels, height // 2, 2, width // 2, 2)
    phases = grid.transpose(0, 3, 5, 1, 2, 4).reshape(-1, pixels)
    return np.concatenate([phases, matrix[:, pixels:]], axis=1)


def _dilated_chain(graph: Graph) -> tuple[list[NodeProto], NodeProto]:
    """The convolutions from the first dilated one on, and the Flatten that ends them."""
    first = next((conv for conv in graph.of_type("Conv") if attributes(conv).get("dilations") == [2, 2]), None)
    if first is None:
        raise absent("dilation_to_batch", "convolution of dilation 2")
    convs = [first]
    for node in walk_single(graph, first.output[0]):
        if node.op_type == "Flatten":
            return convs, node
        if node.op_type == "Conv":
            convs.append(node)
        elif node.op_type != "Relu":
            break
    raise absent("dilation_to_batch", "chain of Conv and Relu from there to a Flatten")


def _sides(graph: Graph, conv: NodeProto) -> tuple[int, int]:
    """Height and width of the images; convolutions with "same" padding keep them."""
    height, width = graph.input_shape("image")[2:]
    if not isinstance(height, int) or not isinstance(width, int) or height % 2 or width % 2:
        raise BuildError(f"pass dilation_to_batch: {conv.name!r} sees {height}x{width}, expected even sides")
    return height, width


def _reader_of_features(graph: Graph, flatten: NodeProto) -> NodeProto:
    """The Gemm over the features, directly or through the Concat with the labels."""
    for node in walk_single(graph, flatten.output[0]):
        if node.op_type == "Gemm" and attributes(node).get("transB") == 1:
            return node
        if node.op_type != "Concat" or node.input[0] != flatten.output[0]:
            break
    raise absent("dilation_to_batch", "Gemm over the flattened features")


def _split(graph: Graph, image: str, channels: int, height: int, width: int) -> str:
    """[N,C,H,W] -> [4N,C,H/2,W/2], phase 2*(row parity) + (column parity) fastest after the image."""
    grid = graph.reshape(image, (-1, channels, height // 2, 2, width // 2, 2), "phases.grid")
    parities = graph.op("Transpose", [grid], "phases.apart", perm=[0, 3, 5, 1, 2, 4])  # [N,2,2,C,H/2,W/2]
    return graph.reshape(parities, (-1, channels, height // 2, width // 2), "phases")


def _undilate(conv: NodeProto) -> None:
    settings = attributes(conv)
    kernel = settings.get("kernel_shape", [])
    same = [k - 1 for k in kernel] * 2  # dilation 2: 2 * (k // 2) on every side
    if settings.get("dilations") != [2, 2] or settings.get("pads") != same or "strides" in settings:
        raise absent("dilation_to_batch", f'"same" convolution of dilation 2 at {conv.name!r}')
    del conv.attribute[:]
    conv.attribute.append(helper.make_attribute("kernel_shape", kernel))
    conv.attribute.append(helper.make_attribute("pads", [k // 2 for k in kernel] * 2))
