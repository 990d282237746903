"""The straightforward deployment as ONNX: the whole of Table 1 on a batch of K labelled copies of each image.

It is what the passes start from, what they are held against, and the baseline to beat.
"""

from __future__ import annotations

import numpy as np

from puvae_rt.contract import BIAS, CANDIDATES, IMAGE, NOISE, Score
from puvae_rt.graph.graph import BATCH, Graph, Tensor
from puvae_rt.graph.layers import gemm, parameters
from puvae_rt.graph.prior import LOG_P, log_prior, prior_bias
from puvae_rt.graph.selection import add_selection
from puvae_rt.models.checkpoint import Array
from puvae_rt.models.spec import (
    CONTRAST_EPSILON,
    CONTRAST_SPAN,
    DECODER_GRID,
    DILATION,
    KERNEL,
    LATENT,
    WIDTH,
    output_paddings,
)
from puvae_rt.models.weights import Weights


def straightforward(weights: Weights, sigma_eps: float = 0.0, dense: bool = True) -> Graph:
    """image [N,C,H,W] (and noise [N,K,32] when `sigma_eps` > 0) -> purified, label, rmse, score.

    Args:
        weights: of one PuVAE, and of its prior if it has one. Every class is decoded, whatever the shortlist.
        sigma_eps: z = mu + sigma_eps * sigma * noise.
        dense: multiply low-rank factors back into Table 1's layers; otherwise keep them as two each.
    """
    contract, classes = weights.contract, len(weights.classes)
    graph = Graph([Tensor(IMAGE, np.float32, (BATCH, *contract.shape))])
    seen = _normalize(graph) if weights.normalized else IMAGE
    copies = replicate(graph, seen, classes, contract.shape, "copies")  # [N*K,C,H,W]
    labels = _labels(graph, classes)  # [N*K,K]
    features = _trunk(graph, copies, weights, dense)  # [N*K,F]
    mu, sigma = _head(graph, features, labels, weights, dense)  # [N*K,32] each
    z = _sample(graph, mu, sigma, classes, sigma_eps) if sigma_eps > 0 else mu
    _decode(graph, z, labels, weights)
    _bias(graph, seen, mu, sigma, weights)
    add_selection(graph, contract, weights.score, classes)
    return graph


def _normalize(graph: Graph) -> str:
    """The image with mean 0 and variance 1 in every channel; `light.mean` and `light.deviation` stay, [N,C,1,1]."""
    axes = graph.ints("light.axes", (2, 3))
    mean = graph.op("ReduceMean", [IMAGE, axes], "light.mean")
    centred = graph.op("Sub", [IMAGE, mean], "light.centred")
    squares = graph.op("Mul", [centred, centred], "light.squares")
    variance = graph.op("ReduceMean", [squares, axes], "light.variance")
    kept = graph.op("Add", [graph.constant("light.epsilon", CONTRAST_EPSILON), variance], "light.kept")
    return graph.op("Div", [centred, graph.op("Sqrt", [kept], "light.deviation")], "light.removed")


def _denormalize(graph: Graph, pictures: str) -> None:
    """`candidates`: the decoder's output [N,K,C,H,W] with the mean and deviation of its image."""
    one = graph.ints("light.class_axis", (1,))
    mean, deviation = (
        graph.op("Unsqueeze", [f"light.{part}", one], f"light.{part}.single") for part in ("mean", "deviation")
    )  # [N,1,C,1,1]
    span = graph.op("Mul", [deviation, graph.constant("light.span", CONTRAST_SPAN)], "light.spread")
    centred = graph.op("Sub", [pictures, graph.constant("light.gray", 0.5)], "light.pictures")
    given = graph.op("Add", [graph.op("Mul", [centred, span], "light.scaled"), mean], "light.given")
    bounds = [graph.constant(f"light.{name}", value) for name, value in (("black", 0.0), ("white", 1.0))]
    graph.op("Clip", [given, *bounds], CANDIDATES)


def replicate(graph: Graph, tensor: str, classes: int, shape: tuple[int, ...], name: str) -> str:
    """[N, *shape] -> [N*K, *shape], the K copies of an image side by side."""
    single = graph.op("Unsqueeze", [tensor, graph.ints(f"{name}.axis", (1,))], f"{name}.single")  # [N,1,...]
    counts = graph.ints(f"{name}.counts", (1, classes, *(1 for _ in shape)))
    spread = graph.op("Expand", [single, counts], f"{name}.spread")  # [N,K,...]
    return graph.reshape(spread, (-1, *shape), name)


def _labels(graph: Graph, classes: int) -> str:
    """One-hot labels of the copies, [N*K,K]."""
    batch = graph.op("Shape", [IMAGE], "labels.batch", start=0, end=1)
    square = graph.ints("labels.square", (classes, classes))
    counts = graph.op("Concat", [batch, square], "labels.counts", axis=0)
    eye = graph.constant("labels.eye", np.eye(classes)[None])
    return graph.reshape(graph.op("Expand", [eye, counts], "labels.spread"), (-1, classes), "labels")


def _trunk(graph: Graph, image: str, weights: Weights, dense: bool) -> str:
    for i in range(3):
        layer = f"trunk.convs.{i}"
        if f"{layer}.weight" in weights.tensors or dense:
            kernel = weights.dense(layer)
        else:
            image = _same_conv(graph, image, weights.tensors[f"{layer}.0.weight"], None, f"trunk.{i}.columns")
            kernel = weights.tensors[f"{layer}.1.weight"]
        conv = _same_conv(graph, image, kernel, weights.bias(layer), f"trunk.{i}.conv")
        image = graph.op("Relu", [conv], f"trunk.{i}")
    return graph.op("Flatten", [image], "features")


def _same_conv(graph: Graph, image: str, kernel: Array, bias: Array | None, name: str) -> str:
    """A dilated convolution whose zero padding keeps the image's size."""
    size = list(kernel.shape[2:])
    pads = [DILATION * (side // 2) for side in size] * 2
    inputs = [image, *parameters(graph, kernel, bias, name)]
    return graph.op("Conv", inputs, name, kernel_shape=size, dilations=[DILATION] * 2, pads=pads)


def _head(graph: Graph, features: str, labels: str, weights: Weights, dense: bool) -> tuple[str, str]:
    """FC1 on [features; label], FC2, FC3 -> mu and sigma."""
    hidden = _fc1(graph, features, labels, weights, dense)
    if dense or weights.ranks.fc2 is None:
        hidden = gemm(graph, hidden, weights.dense("fc2"), weights.bias("fc2"), "fc2.linear")
    else:
        thin = gemm(graph, hidden, weights.tensors["fc2.0.weight"], None, "fc2.thin")
        hidden = gemm(graph, thin, weights.tensors["fc2.1.weight"], weights.bias("fc2"), "fc2.linear")
    hidden = graph.op("Relu", [hidden], "fc2")
    both = gemm(graph, hidden, weights.dense("fc3"), weights.bias("fc3"), "fc3")
    sizes = graph.ints("posterior.sizes", (LATENT, LATENT))
    graph.op("Split", [both, sizes], ["mu", "sigma.raw"], axis=1)
    return "mu", graph.op("Softplus", ["sigma.raw"], "sigma")


def _fc1(graph: Graph, features: str, labels: str, weights: Weights, dense: bool) -> str:
    matrix = weights.dense("fc1_image")
    if not dense and weights.ranks.fc1 is not None:
        features = gemm(graph, features, weights.tensors["fc1_image.0.weight"], None, "fc1.thin")
        matrix = weights.tensors["fc1_image.1.weight"]
    joined = graph.op("Concat", [features, labels], "fc1.input", axis=1)
    matrix = np.concatenate([matrix, weights.tensors["fc1_label.weight"]], axis=1)  # [HIDDEN, F+K]
    linear = gemm(graph, joined, matrix, weights.bias("fc1_image"), "fc1.linear")
    return graph.op("Relu", [linear], "fc1")  # [N*K, HIDDEN]


def _sample(graph: Graph, mu: str, sigma: str, classes: int, sigma_eps: float) -> str:
    """z = mu + sigma_eps * sigma * noise; adds the input `noise` [N,K,32]."""
    graph.inputs.append(Tensor(NOISE, np.float32, (BATCH, classes, LATENT)))
    noise = graph.reshape(NOISE, (-1, LATENT), "noise.copies")  # [N*K,32]
    scale = graph.op("Mul", [sigma, graph.constant("sigma.eps", sigma_eps)], "sigma.scaled")
    return graph.op("Add", [mu, graph.op("Mul", [scale, noise], "sigma.noise")], "z")


def _decode(graph: Graph, z: str, labels: str, weights: Weights) -> None:
    """`candidates` [N,K,C,H,W]."""
    contract, grid = weights.contract, DECODER_GRID
    joined = graph.op("Concat", [z, labels], "decoder.input", axis=1)
    matrix, bias = weights.dense("decoder_fc"), weights.bias("decoder_fc")
    linear = gemm(graph, joined, matrix, bias, "decoder.linear")
    image = graph.reshape(graph.op("Relu", [linear], "decoder.fc"), (-1, WIDTH, grid, grid), "decoder.grid")
    for i, padding in enumerate(output_paddings(contract.height)):
        layer = f"deconvs.{i}"
        deconv = graph.op(
            "ConvTranspose",
            [image, *parameters(graph, weights.dense(layer), weights.bias(layer), layer)],
            f"decoder.{i}.deconv",
            kernel_shape=[KERNEL] * 2,
            strides=[2, 2],
            pads=[KERNEL // 2] * 4,
            output_padding=[padding] * 2,
        )
        image = graph.op("Relu" if i < 2 else "Sigmoid", [deconv], f"decoder.{i}")
    name = "pictures" if weights.normalized else CANDIDATES
    graph.reshape(image, (-1, len(weights.classes), *contract.shape), name)
    if weights.normalized:
        _denormalize(graph, name)


def _bias(graph: Graph, seen: str, mu: str, sigma: str, weights: Weights) -> None:
    """`bias` [N,K], what the score adds to the distance: the KL's part, the prior's, or both.

    A shortlist needs the prior even where the score does not.
    """
    score, classes = weights.score, len(weights.classes)
    both = score.kl_weight > 0 and score.prior_weight > 0
    if score.kl_weight > 0:
        _kl(graph, mu, sigma, classes, score, "bias.kl" if both else BIAS)
    if weights.prior is not None:
        log_p = log_prior(graph, seen, weights, weights.prior)
        graph.kept = (LOG_P,) if weights.shortlist is not None else ()
        if score.prior_weight > 0:
            deviation = "light.deviation" if weights.normalized else None
            prior_bias(graph, log_p, deviation, score.prior_weight, "bias.prior" if both else BIAS)
    if both:
        graph.op("Add", ["bias.kl", "bias.prior"], BIAS)


def _kl(graph: Graph, mu: str, sigma: str, classes: int, score: Score, name: str) -> None:
    """`name` [N,K] = kl_weight * KL(q || N(0,1)), KL = 1/2 sum(mu^2 + sigma^2 - 2 log sigma - 1)."""
    squares = graph.op("Mul", [mu, mu], "kl.mu_squares")
    spread = graph.op("Mul", [sigma, sigma], "kl.sigma_squares")
    logs = graph.op("Mul", [graph.op("Log", [sigma], "kl.log"), graph.constant("kl.two", 2.0)], "kl.logs")
    terms = graph.op("Sub", [graph.op("Add", [squares, spread], "kl.squares"), logs], "kl.terms")
    each = graph.op("Sub", [terms, graph.constant("kl.one", 1.0)], "kl.each")
    total = graph.op("ReduceSum", [each, graph.ints("kl.axis", (1,))], "kl.total", keepdims=0)  # [N*K]
    scaled = graph.op("Mul", [total, graph.constant("kl.weight", 0.5 * score.kl_weight)], "kl.scaled")
    graph.reshape(scaled, (-1, classes), name)
