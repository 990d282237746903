"""`python -m export.thin_classifier`: large fully connected layers of a classifier as products of two thin ones, so
that its file stays small.

As in `calib.low_rank`, the outputs of a layer over training images decide: their leading principal directions U give
W ~ U (U^T W), exact for the mean output. Nothing is trained afterwards. `export.assets` does the same to classifiers
that ship.
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
        variances, directions = np.linalg.eigh((outputs - mean).T @ (outputs - mean))  # ascending
        u = directions[:, -rank:]  # [M, rank]
        bias = mean - u @ (u.T @ (mean - tensors.pop(f"{position}.bias")))
        thin = {"0.weight": u.T @ tensors.pop(f"{position}.weight"), "1.weight": u, "1.bias": bias}
        tensors |= {f"{position}.{name}": value for name, value in thin.items()}
        kept = variances[-rank:].sum() / variances.sum()
        progress(
            f"classifier {weights.architecture}: layer {position}, {dense.shape[0]} x {dense.shape[1]}, to rank {rank} "
            f"with {100 * kept:.2f}% of its outputs' variance"
        )
    return replace(weights, tensors=tensors)


def large_layers(weights: ClassifierWeights) -> list[int]:
    """The positions of the fully connected layers that have more than LARGE weights."""
    positions = layer_positions(weights.architecture)[1]
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
