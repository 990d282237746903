"""A convolution over 1 or 3 channels makes TensorRT pad them in a kernel of its own; the phase split, which moves
every pixel anyway, can write the zero channel as well."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes.patterns import absent

ALIGNMENT = 2  # channels of an FP16 convolution come in pairs


def pad_channels(graph: Graph) -> None:
    """Pad the image's channels where the phases are split; BuildError when there is no such split."""
    conv = next((node for node in graph.of_type("Conv") if _is_split(graph.producer(node.input[0]))), None)
    if conv is None:
        raise absent("pad_channels", "convolution after the phase split")
    kernel = graph.value(conv.input[1])  # [O,C,7,7]
    missing = -kernel.shape[1] % ALIGNMENT
    if not missing:
        return
    amounts = graph.ints("phases.padding", (0, 0, 0, 0, 0, missing, 0, 0))
    conv.input[0] = graph.op("Pad", [conv.input[0], amounts], "phases.padded")  # [4N,C+missing,H/2,W/2]
    padded = np.pad(kernel, ((0, 0), (0, missing), (0, 0), (0, 0)))
    conv.input[1] = graph.constant(f"{conv.output[0]}.padded", padded)


def _is_split(node: NodeProto | None) -> bool:
    return node is not None and node.op_type == "Reshape"
