"""The last transposed convolution has one output channel, which TensorRT pads to eight and slices off again.

As an ordinary convolution that makes two whole image rows at a time, its channels are the pixels of those rows:
enough of them to fill the hardware, and already in the memory order of the image.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from puvae_rt.graph.graph import Constant, Graph, attributes
from puvae_rt.graph.passes.gpu.channels_last import TO_LAST
from puvae_rt.graph.passes.patterns import absent

TAPS = 4  # input rows under two output rows of a 7-row kernel
PAD_TOP, PAD_BOTTOM = 1, 2


def unroll_last_deconv(graph: Graph) -> None:
    """[B,c,h,w] -> ConvTranspose 7x7, stride 2 -> [B,1,2h,2w] as Conv 4 x w -> [B,2*2w,h,1] -> the same image."""
    deconv = next(reversed(graph.of_type("ConvTranspose")), None)
    if deconv is None:
        raise absent("unroll_last_deconv", "transposed convolution")
    kernel = graph.value(deconv.input[1])  # [c,O,7,7]
    if kernel.shape[1] != 1:
        return  # several channels are not contiguous rows of one image
    expected = {"kernel_shape": [7, 7], "strides": [2, 2], "pads": [3] * 4, "output_padding": [1, 1]}
    if attributes(deconv) != expected:
        raise absent("unroll_last_deconv", "transposed convolution 7x7 of stride 2 that doubles the side")
    sigmoid = graph.only_consumer(deconv.output[0])
    candidates = graph.only_consumer(sigmoid.output[0])
    width = int(graph.value(candidates.input[1])[-1]) // 2
    _emit(graph, deconv, sigmoid, candidates, unrolled_kernel(kernel[:, 0], width))


def unrolled_kernel(kernel: Constant, width: int) -> Constant:
    """[c,7,7] -> [2*2w, c, TAPS, w]: output pixel y = 2r+p takes kernel row a = p+5-2t from input row r-1+t, and
    output pixel x takes kernel column b = x+3-2j from input column j."""
    taken = np.zeros((2, 2 * width, len(kernel), TAPS, width), kernel.dtype)
    for p, t in np.ndindex(2, TAPS):
        a = p + 5 - 2 * t
        for x, j in np.ndindex(2 * width, width):
            b = x + 3 - 2 * j
            if 0 <= a < 7 and 0 <= b < 7:
                taken[p, x, :, t, j] = kernel[:, a, b]
    return taken.reshape(-1, len(kernel), TAPS, width)


def _emit(graph: Graph, deconv: NodeProto, sigmoid: NodeProto, candidates: NodeProto, kernel: Constant) -> None:
    name, outputs = deconv.output[0], len(kernel)
    graph.remove(deconv, sigmoid, candidates)
    bias = np.full(outputs, graph.value(deconv.input[2])[0])
    rows = graph.op(
        "Conv",
        [deconv.input[0], graph.constant(f"{name}.rows.weight", kernel), graph.constant(f"{name}.rows.bias", bias)],
        f"{name}.rows",
        kernel_shape=list(kernel.shape[2:]),
        pads=[PAD_TOP, 0, PAD_BOTTOM, 0],
    )  # [B,2*2w,h,1]
    pixels = graph.op("Sigmoid", [rows], f"{name}.pixels")
    image = graph.op("Transpose", [pixels], f"{name}.image", perm=TO_LAST)  # [B,h,1,2*2w]
    graph.op("Reshape", [image, candidates.input[1]], candidates.output[0])
