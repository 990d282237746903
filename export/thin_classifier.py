"""`python -m export.thin_classifier`: large fully connected layers of a classifier as products of two thin ones, so
that its file stays small.

As in `calib.low_rank`, the outputs of a layer over training images decide: their leading principal directions U give
W ~ U (U^T W), exact for the mean output. Nothing is trained afterwards. `export.assets` does the same to classifiers
that ship.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.attacked_samples import Progress, choose, dataset_of
from export.classifier import ClassifierWeights, classifier_graph, layer_positions, linear_output, load_classifier
from export.samples import CLEAN
from puvae_rt.cli.command import run_command
from puvae_rt.contract import IMAGE
from puvae_rt.errors import ContractError
from puvae_rt.files import refuse_overwrite
from puvae_rt.graph.graph import BATCH, Tensor
from puvae_rt.models.checkpoint import Array, rewrite_checkpoint
from puvae_rt.runtime.cpu import CHUNK
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.session import open_session

LARGE = 8_000_000  # weights of a layer, 16 MB in FP16
RANK = 40  # about what C on 32x32x3 images has room for in 8 MB of FP16
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
    tensors = dict(weights.tensors)
    for position in layer_positions(weights.architecture)[1]:
        dense = tensors[f"{position}.weight"]  # [M, features]
        if dense.size <= LARGE:
            continue
        if not 0 < rank < min(dense.shape):
            raise ContractError(f"rank {rank} of a classifier's layer: expected 1 to {min(dense.shape) - 1}")
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


def _outputs(weights: ClassifierWeights, position: int, images: Array) -> Array:
    """Of a fully connected layer before its ReLU, [N, M]."""
    graph = classifier_graph(weights)
    graph.outputs = [Tensor(linear_output(position), np.float32, (BATCH, len(weights.tensors[f"{position}.bias"])))]
    graph.prune()
    output, model = linear_output(position), graph.to_model().SerializeToString()
    session = open_session(model, available_cpus(), name=f"classifier {weights.architecture}")
    parts = [session.run((output,), {IMAGE: images[i : i + CHUNK]})[0] for i in range(0, len(images), CHUNK)]
    return np.concatenate(parts)


def run(args: argparse.Namespace) -> dict[str, Any]:
    refuse_overwrite({"--out": args.out}, {"--weights": args.weights, "--data": args.data})
    weights = load_classifier(args.weights)
    dataset = dataset_of(weights.model, weights.classes, weights.contract, args.data)
    images = np.divide(choose(dataset.train, IMAGES).sets[CLEAN], 255, dtype=np.float32)
    lines: list[str] = []
    thin = factored(weights, images, args.rank, lines.append)
    if not lines:
        raise ContractError(f"{args.weights}: no fully connected layer of over {LARGE:,} weights; it is small already")
    rewrite_checkpoint(args.weights, args.out, thin.tensors)
    return {"layers": lines, "out": str(args.out), "bytes": args.out.stat().st_size}


def show(result: dict[str, Any]) -> str:
    return "\n".join([*result["layers"], f"{result['bytes']:>9,} bytes  {result['out']}"])


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m export.thin_classifier", description=__doc__)
    p.add_argument("--weights", type=Path, required=True, help="of a classifier, .safetensors")
    p.add_argument("--rank", type=int, default=RANK, help="of the factored layers (default: %(default)s)")
    p.add_argument("--data", type=Path, help="the dataset (default: PUVAE_DATA, else the download)")
    p.add_argument("--out", type=Path, required=True, help="the file to write, .safetensors")
    p.add_argument("--json", action="store_true", help="print the summary as JSON")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_command(lambda: run(args), show, args.json)


if __name__ == "__main__":
    sys.exit(main())
