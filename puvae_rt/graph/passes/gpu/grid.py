"""The decoder's first fully connected layer makes a 4x4 image of 32 channels. Written as a Gemm, TensorRT copies its
rows into the channels-last image that the next layer wants; as a transposed convolution of a 1x1 image, whose 4x4
kernel steps by its own size, it writes that image itself. The products are the same."""

from __future__ import annotations

from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes.patterns import absent


def decoder_as_deconv(graph: Graph) -> None:
    """Gemm, Relu, Reshape -> Reshape, ConvTranspose, Add, Relu."""
    deconv = next(iter(graph.of_type("ConvTranspose")), None)
    reshape = graph.producer(deconv.input[0]) if deconv is not None else None
    relu = graph.producer(reshape.input[0]) if reshape is not None else None
    gemm = graph.producer(relu.input[0]) if relu is not None else None
    if deconv is None or reshape is None or relu is None or gemm is None or gemm.op_type != "Gemm":
        raise absent("decoder_as_deconv", "Gemm, Relu, Reshape before the first transposed convolution")
    matrix, bias = graph.value(gemm.input[1]), graph.value(gemm.input[2])  # [c*h*w, V], [c*h*w]
    grid = tuple(int(side) for side in graph.value(reshape.input[1])[1:])  # c, h, w
    values = matrix.shape[1]
    graph.remove(gemm, relu, reshape)
    name = gemm.output[0]
    point = graph.reshape(gemm.input[0], (-1, values, 1, 1), f"{name}.point")
    kernel = graph.constant(f"{name}.kernel", matrix.T.reshape(values, *grid), matrix.dtype)
    size = list(grid[1:])
    image = graph.op("ConvTranspose", [point, kernel], f"{name}.image", kernel_shape=size, strides=size)
    rows = graph.constant(f"{name}.image.bias", bias.reshape(1, *grid), bias.dtype)  # one value per pixel
    biased = graph.op("Add", [image, rows], f"{name}.image.biased")
    graph.op("Relu", [biased], reshape.output[0])
