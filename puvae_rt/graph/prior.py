"""The prior p(k | x) as ONNX: 3x3 convolutions on the image that the trunk sees, two fully connected layers.

It runs once per image whatever is done to the trunk: no pass touches its layers.
"""

from __future__ import annotations

from puvae_rt.graph.graph import Graph
from puvae_rt.graph.layers import gemm, parameters
from puvae_rt.models.checkpoint import Array
from puvae_rt.models.header import PRIOR_PREFIX
from puvae_rt.models.spec import CONTRAST_SPAN, PRIOR_KERNEL, PriorLayers
from puvae_rt.models.weights import Weights

LOG_P = "prior.log_p"  # log p(k | x), [N,K]


def log_prior(graph: Graph, seen: str, weights: Weights, layers: PriorLayers) -> str:
    """log p(k | x) [N,K] of the images `seen` [N,C,H,W], their contrast normalized where the model does that."""
    image = seen
    for place, (_, stride) in enumerate(layers.convs):
        name = f"prior.{place}.conv"
        inputs = [image, *parameters(graph, *_own(weights, f"convs.{place}"), name)]
        same = {"kernel_shape": [PRIOR_KERNEL] * 2, "pads": [PRIOR_KERNEL // 2] * 4}
        conv = graph.op("Conv", inputs, name, strides=[stride] * 2, **same)
        image = graph.op("Relu", [conv], f"prior.{place}")
    flat = graph.op("Flatten", [image], "prior.features")
    hidden = graph.op("Relu", [gemm(graph, flat, *_own(weights, "hidden"), "prior.hidden.linear")], "prior.hidden")
    logits = gemm(graph, hidden, *_own(weights, "out"), "prior.logits")
    return graph.op("LogSoftmax", [logits], LOG_P, axis=1)


def prior_bias(graph: Graph, log_p: str, deviation: str | None, weight: float, name: str) -> str:
    """What the prior adds to the score: -weight * c(x) * log p(k | x), [N,K].

    Args:
        graph: is added to.
        log_p: log p(k | x), [N,K].
        deviation: of every channel of the images, [N,C,1,1], where contrast is normalized: c(x) is the mean over the
            channels of (CONTRAST_SPAN * deviation)^2. None: c(x) is 1.
        weight: the score's `prior_weight`.
        name: of the result.
    """
    if deviation is None:
        return graph.op("Mul", [log_p, graph.constant(f"{name}.weight", -weight)], name)
    flat = graph.op("Flatten", [deviation], "prior.deviation")  # [N,C]
    squares = graph.op("Mul", [flat, flat], "prior.variance")
    scale = graph.op("ReduceMean", [squares, graph.ints("prior.channels", (1,))], "prior.scale", keepdims=1)  # [N,1]
    factor = graph.op("Mul", [scale, graph.constant(f"{name}.weight", -weight * CONTRAST_SPAN**2)], "prior.factor")
    return graph.op("Mul", [log_p, factor], name)


def _own(weights: Weights, layer: str) -> tuple[Array, Array]:
    return weights.dense(f"{PRIOR_PREFIX}{layer}"), weights.bias(f"{PRIOR_PREFIX}{layer}")
