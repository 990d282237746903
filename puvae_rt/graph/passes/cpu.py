"""Exact rewrites for ONNX Runtime on a CPU, whose transposed convolutions are slow and whose convolutions are not.

They run on a graph that ends in `candidates` or behind them, after the passes of `puvae_rt.graph.passes`. With stride
2 and a 7-tap kernel, output pixel o = 2i + p takes input pixel j = i - 1 + t with tap p + 5 - 2t (t = 0..3, taps in
0..6).
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from puvae_rt.graph.graph import Constant, Graph, attributes
from puvae_rt.graph.passes import Pass, apply
from puvae_rt.graph.passes.patterns import absent
from puvae_rt.models.spec import KERNEL

STRIDE = 2
PADDING = KERNEL // 2
BLOCK = STRIDE**2  # pixels of the image under one of the grid, in each direction


def first_deconv_as_gemm(graph: Graph) -> None:
    """On so few pixels the transposed convolution is a dense matrix: [B,c*h*w] -> [B,o*2h*2w], the padding cut off.

    As many products as the transposed convolution has, in one call. The file keeps the kernel: ONNX Runtime makes the
    matrix, sixteen times as large, when it folds constants."""
    deconv = _deconvs(graph, "first_deconv_as_gemm")[0]
    reshape = graph.producer(deconv.input[0])
    relu = graph.only_consumer(deconv.output[0])
    if reshape is None or reshape.op_type != "Reshape" or relu.op_type != "Relu":
        raise absent("first_deconv_as_gemm", "Reshape before the first transposed convolution and Relu behind it")
    grid = int(graph.value(reshape.input[1])[-1])
    side = STRIDE * (grid - 1) + 1 + attributes(deconv)["output_padding"][0]
    kernel, bias = graph.value(deconv.input[1]), graph.value(deconv.input[2])  # [c,o,7,7], [o]
    name, channels = deconv.output[0], len(bias)
    graph.remove(reshape, deconv, relu)
    matrix = _matrix(graph, kernel, grid, side, f"{name}.matrix")  # [c*h*w, o*side*side]
    rows = graph.constant(f"{name}.matrix.bias", np.repeat(bias, side**2))
    flat = graph.op("Relu", [graph.op("Gemm", [reshape.input[0], matrix, rows], f"{name}.flat")], f"{name}.active")
    graph.reshape(flat, (-1, channels, side, side), relu.output[0])


def deconvs_in_phases(graph: Graph) -> None:
    """The last two transposed convolutions as ordinary ones on the coarse grid: the four phases of the first are
    channels for the second, whose 4x4 pixels for each of the grid become an image once, at the end."""
    *_, middle, last = _deconvs(graph, "deconvs_in_phases")
    relu, sigmoid = graph.only_consumer(middle.output[0]), graph.only_consumer(last.output[0])
    if relu.op_type != "Relu" or sigmoid.op_type != "Sigmoid" or relu.output[0] != last.input[0]:
        raise absent("deconvs_in_phases", "Relu and Sigmoid behind the last two transposed convolutions")
    graph.remove(middle, relu, last, sigmoid)
    phases = [_phase(graph, middle, p, q) for p, q in np.ndindex(STRIDE, STRIDE)]
    image = graph.op("Concat", phases, f"{middle.output[0]}.phases", axis=1)  # [B,4*c,h,w]
    kernel = blocked_kernel(graph.value(last.input[1]))
    bias = np.repeat(graph.value(last.input[2]), BLOCK**2)
    blocks = _conv(graph, image, kernel, bias, f"{last.output[0]}.blocks", (1, 1))  # [B,o*16,h,w]
    pixels = graph.op("Sigmoid", [blocks], f"{last.output[0]}.pixels")
    graph.op("DepthToSpace", [pixels], sigmoid.output[0], blocksize=BLOCK, mode="CRD")


CPU: dict[str, Pass] = {"first_deconv_as_gemm": first_deconv_as_gemm, "deconvs_in_phases": deconvs_in_phases}


def apply_cpu(graph: Graph) -> Graph:
    """A copy of the graph, rewritten by both passes."""
    return apply(graph, CPU, CPU)


def blocked_kernel(kernel: Constant) -> Constant:
    """[c,o,7,7] of a transposed convolution whose input comes as four phases -> [o*4*4, 4*c, 3, 3].

    Pixel r = 2s + p of a block takes row m = s - 1 + t of the input, which is phase m mod 2 of the block m div 2."""
    taps = np.zeros((BLOCK, STRIDE, 3, KERNEL), kernel.dtype)  # pixel, phase, block (-1 to 1), tap
    for r, t in np.ndindex(BLOCK, BLOCK):
        m, tap = r // STRIDE - 1 + t, r % STRIDE + 5 - 2 * t
        if 0 <= tap < KERNEL:
            taps[r, m % STRIDE, m // STRIDE + 1, tap] = 1
    blocked: Constant = np.einsum("couv,rpau,sqbv->orspqcab", kernel, taps, taps, optimize=True)
    return blocked.reshape(kernel.shape[1] * BLOCK**2, -1, 3, 3)


def _deconvs(graph: Graph, name: str) -> list[NodeProto]:
    """The decoder's transposed convolutions, of which there are three at first."""
    found = graph.of_type("ConvTranspose")
    expected = {"kernel_shape": [KERNEL] * 2, "strides": [STRIDE] * 2, "pads": [PADDING] * 4}
    fits = [attributes(node) | expected == attributes(node) for node in found]
    doubling = [attributes(node).get("output_padding") == [1, 1] for node in found[-2:]]
    if len(found) < 2 or not all(fits + doubling):
        raise absent(name, "transposed convolutions 7x7 of stride 2")
    return found


def _matrix(graph: Graph, kernel: Constant, inputs: int, outputs: int, name: str) -> str:
    """Where output o takes input i with tap k = o + 3 - 2i; a tap beyond the kernel reads the zero behind its end."""
    i, o = np.ogrid[:inputs, :outputs]
    tap = o + PADDING - STRIDE * i
    taps = graph.ints(f"{name}.taps", np.where((tap >= 0) & (tap < KERNEL), tap, KERNEL).ravel())
    padded = graph.constant(f"{name}.kernel", np.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 1))))
    rows = graph.op("Gather", [padded, taps], f"{name}.rows", axis=2)  # [c,o,inputs*outputs,8]
    both = graph.op("Gather", [rows, taps], f"{name}.both", axis=3)  # [c,o,inputs*outputs,inputs*outputs]
    grid = graph.reshape(both, (*kernel.shape[:2], inputs, outputs, inputs, outputs), f"{name}.grid")
    apart = graph.op("Transpose", [grid], f"{name}.apart", perm=[0, 2, 4, 1, 3, 5])
    return graph.reshape(apart, (kernel.shape[0] * inputs**2, -1), name)


def _phase(graph: Graph, deconv: NodeProto, p: int, q: int) -> str:
    """Pixels (2i + p, 2j + q) of the result, after the ReLU."""
    kernel = graph.value(deconv.input[1])[:, :, p + 5 :: -2, q + 5 :: -2].swapaxes(0, 1)
    name = f"{deconv.output[0]}.phase{p}{q}"
    conv = _conv(graph, deconv.input[0], kernel, graph.value(deconv.input[2]), name, (p + 1, q + 1))
    return graph.op("Relu", [conv], f"{name}.active")


def _conv(graph: Graph, image: str, kernel: Constant, bias: Constant, name: str, after: tuple[int, int]) -> str:
    """With one row and column of padding before the image, and `after` behind it."""
    inputs = [image, graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)]
    return graph.op("Conv", inputs, name, kernel_shape=list(kernel.shape[2:]), pads=[1, 1, *after])
