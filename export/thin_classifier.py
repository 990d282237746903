"""`python -m export.thin_classifier`: large fully connected layers of a classifier as products of two thin ones, so
that its file stays small.

As in `calib.low_rank`, the outputs y of a layer over training images decide. Their leading principal directions U, in
the metric A of what the next layer sees behind the ReLU, give W ~ A^-1/2 U (U^T A^1/2 W), exact for the mean output.
Nothing is trained afterwards. `export.assets` does the same to classifiers that ship.
"""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "thin-classifier")  # first: --help needs none of what follows

from dataclasses import replace
from pathlib import Path

import numpy as np

from export.attacked_samples import Progress, choose, dataset_of
from export.classifier import ClassifierWeights, classifier_graph, layer_positions, linear_output, load_classifier
from export.samples import CLEAN
from export.settings import LARGE
from puvae_rt.contract import IMAGE
from puvae_rt.errors import ContractError
from puvae_rt.graph.graph import BATCH, Tensor
from puvae_rt.models.checkpoint import Array, rewrite_checkpoint
from puvae_rt.runtime.cpu import CHUNK
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.session import open_session

IMAGES = 1000  # whose activations decide the directions


def factored(weights: ClassifierWeights, images: Array, rank: int, progress: Progress) -> ClassifierWeights:
    """The weights with each fully connected layer of more than LARGE weights as a product of two thin ones.

    Args:
        weights: of a classifier.
        images: float32 [N,C,H,W] in [0,1], of the training split.
        rank: of the factored layers.
        progress: told of each of them.
    Raises:
        ContractError: the rank is not below the layer's.
    """
    check_rank(weights, rank)
    tensors = dict(weights.tensors)
    for position in large_layers(weights):
        dense = tensors[f"{position}.weight"]  # [M, features]
        outputs = _outputs(weights, position, images)  # [N, M]
        mean = outputs.mean(axis=0)
        root, inverse = _metric_root(outputs, _next_weight(weights, position))  # [M, M] each
        seen = (outputs - mean) @ root
        variances, directions = np.linalg.eigh(seen.T @ seen)  # ascending
        down, up = directions[:, -rank:].T @ root, inverse @ directions[:, -rank:]  # [rank, M], [M, rank]
        bias = mean - up @ (down @ (mean - tensors.pop(f"{position}.bias")))
        thin = {"0.weight": down @ tensors.pop(f"{position}.weight"), "1.weight": up, "1.bias": bias}
        tensors |= {f"{position}.{name}": np.asarray(value, np.float32) for name, value in thin.items()}
        kept = variances[-rank:].sum() / variances.sum()
        progress(
            f"classifier {weights.architecture}: layer {position}, {dense.shape[0]} x {dense.shape[1]}, to rank {rank} "
            f"with {100 * kept:.2f}% of its outputs' variance"
        )
    return replace(weights, tensors=tensors)


def _next_weight(weights: ClassifierWeights, position: int) -> Array:
    """The weight [L, M] of the fully connected layer behind `position`."""
    positions = layer_positions(weights.architecture)[1]
    return weights.tensors[f"{positions[positions.index(position) + 1]}.weight"]


def _metric_root(outputs: Array, after: Array) -> tuple[Array, Array]:
    """A^1/2 and A^-1/2 [M, M] of the metric that a small error e of `outputs` [N, M] has in the next layer.

    Behind the ReLU only positive outputs pass, and a shift common to all of the next layer's L outputs changes nothing
    of what the logits say: A = E |(after - its mean) diag(y > 0) e|^2 over images, with a thousandth of its mean
    diagonal added, so that it can be inverted.
    """
    passing = (outputs > 0).astype(np.float64)
    contrast = after - after.mean(axis=0)
    metric = (contrast.T @ contrast) * (passing.T @ passing) / len(outputs)
    metric += 1e-3 * np.trace(metric) / len(metric) * np.eye(len(metric))
    values, vectors = np.linalg.eigh(metric)
    return (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T


def large_layers(weights: ClassifierWeights) -> list[int]:
    """The positions of the hidden fully connected layers that have more than LARGE weights."""
    positions = layer_positions(weights.architecture)[1][:-1]
    sizes = {at: weights.tensors[f"{at}.weight"].size for at in positions if f"{at}.weight" in weights.tensors}
    return [position for position, size in sizes.items() if size > LARGE]


def check_rank(weights: ClassifierWeights, rank: int) -> None:
    """Raises ContractError when the rank is not below that of every large layer."""
    for position in large_layers(weights):
        full = min(weights.tensors[f"{position}.weight"].shape)
        if not 0 < rank < full:
            raise ContractError(f"rank {rank} of a classifier's layer: expected 1 to {full - 1}")


def _outputs(weights: ClassifierWeights, position: int, images: Array) -> Array:
    """What a fully connected layer gives before its ReLU, [N, M]."""
    graph = classifier_graph(weights)
    graph.outputs = [Tensor(linear_output(position), np.float32, (BATCH, len(weights.tensors[f"{position}.bias"])))]
    graph.prune()
    output, model = linear_output(position), graph.to_model().SerializeToString()
    session = open_session(model, available_cpus(), name=f"classifier {weights.architecture}")
    parts = [session.run((output,), {IMAGE: images[i : i + CHUNK]})[0] for i in range(0, len(images), CHUNK)]
    return np.concatenate(parts)


def thin_file(path: Path, out: Path, rank: int, data: Path | None) -> list[str]:
    """Writes the classifier in `path` to `out` with its large layers factored, and says what became of each.

    Args:
        path: weights of a classifier, .safetensors.
        out: the file to write, .safetensors.
        rank: of the factored layers.
        data: the data set it was trained on; None is PUVAE_DATA, else the download.
    Raises:
        ContractError: no layer is large, or the rank is not below the layer's.
        DataError, CheckpointError, BuildError
    """
    weights = load_classifier(path)
    if not large_layers(weights):
        raise ContractError(f"{path}: no fully connected layer of over {LARGE:,} weights; it is small already")
    check_rank(weights, rank)
    dataset = dataset_of(weights.model, weights.classes, weights.contract, data)
    images = np.divide(choose(dataset.train, IMAGES).sets[CLEAN], 255, dtype=np.float32)
    lines: list[str] = []
    thin = factored(weights, images, rank, lines.append)
    rewrite_checkpoint(path, out, thin.tensors)
    return lines
