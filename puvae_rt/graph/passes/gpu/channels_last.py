"""TensorRT convolves FP16 with the channel fastest in memory. A Reshape between that and a fully connected layer
is free when the layer's own order has the channel last too: a permutation of its rows or columns."""

from __future__ import annotations

from onnx import NodeProto

from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes.patterns import LabelTable, absent, label_tables

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def channels_last_features(graph: Graph) -> None:
    """FC1's columns: (phase, channel, row, column) -> (phase, row, column, channel)."""
    readers = ((gemm, _convolution_before(graph, gemm.input[0])) for gemm in graph.of_type("Gemm"))
    gemm, conv = next(((gemm, conv) for gemm, conv in readers if conv is not None), (None, None))
    if gemm is None or conv is None:
        raise absent("channels_last_features", "Gemm over the flattened output of a convolution")
    flat = graph.producer(gemm.input[0])
    channels = graph.value(conv.input[1]).shape[0]
    matrix = graph.value(gemm.input[1])
    height, width = (int(side) // 2 for side in graph.input_shape("image")[2:])
    grid = matrix.reshape(len(matrix), 4, channels, height, width)
    last = grid.transpose(0, 1, 3, 4, 2).reshape(matrix.shape)
    gemm.input[1] = graph.constant(f"{gemm.output[0]}.channels_last", last)
    assert flat is not None  # by _convolution_before
    flat.input[0] = graph.op("Transpose", [flat.input[0]], "features.channels_last", perm=TO_LAST)


def _convolution_before(graph: Graph, tensor: str) -> NodeProto | None:
    """The convolution whose activations `tensor` is a Reshape of, if it is; a prior's go through a Flatten."""
    node = None
    for kind in ("Reshape", "Relu", "Conv"):
        node = graph.producer(tensor)
        if node is None or node.op_type != kind:
            return None
        tensor = node.input[0]
    return node


def channels_last_decoder(graph: Graph) -> None:
    """The decoder's first layer: rows (channel, row, column) -> (row, column, channel)."""
    deconv = next(iter(graph.of_type("ConvTranspose")), None)
    reshape = graph.producer(deconv.input[0]) if deconv is not None else None
    relu = graph.producer(reshape.input[0]) if reshape is not None else None
    if deconv is None or reshape is None or relu is None or relu.op_type != "Relu":
        raise absent("channels_last_decoder", "Relu, Reshape before the first transposed convolution")
    gemm, table = _layer_before(graph, relu)
    _, channels, height, width = (int(side) for side in graph.value(reshape.input[1]))
    for i in range(1, len(gemm.input)):
        gemm.input[i] = _channels_last(graph, gemm.input[i], channels, axis=0)  # [c*h*w, ...]
    if table is not None:
        holder, place = table.holder, table.place
        holder.input[place] = _channels_last(graph, holder.input[place], channels, axis=-1)  # [..., K, c*h*w]
    graph.remove(reshape)
    grid = graph.reshape(reshape.input[0], (-1, height, width, channels), "decoder.grid.channels_last")
    graph.op("Transpose", [grid], reshape.output[0], perm=TO_FIRST)


def _layer_before(graph: Graph, relu: NodeProto) -> tuple[NodeProto, LabelTable | None]:
    """The Gemm under `relu`, and the label table between them where there is one."""
    node, table = graph.producer(relu.input[0]), None
    while node is not None and node.op_type in ("Reshape", "Add"):
        if node.op_type == "Add":
            table = next((found for found in label_tables(graph) if found.add is node), None)
            if table is None:
                break
        node = graph.producer(node.input[0])
    if node is None or node.op_type != "Gemm":
        raise absent("channels_last_decoder", "Gemm (and label table) before the Relu")
    return node, table


def _channels_last(graph: Graph, name: str, channels: int, axis: int) -> str:
    """The constant with `axis` in the order (pixel, channel) instead of (channel, pixel)."""
    value = graph.value(name)
    axis %= value.ndim
    before, after = value.shape[:axis], value.shape[axis + 1 :]
    last = value.reshape(*before, channels, -1, *after).swapaxes(axis, axis + 1).reshape(value.shape)
    return graph.constant(f"{name}.channels_last", last, value.dtype)
