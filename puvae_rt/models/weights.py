"""PuVAE weights out of a .safetensors file; every name, shape, type and setting is checked. No PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from puvae_rt.contract import ImageContract, Score
from puvae_rt.files import sha256_of
from puvae_rt.models.checkpoint import Array, Shapes, read_checkpoint
from puvae_rt.models.header import PuvaeHeader
from puvae_rt.models.spec import DECODER_GRID, HIDDEN, KERNEL, LATENT, WIDTH, Ranks

WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Weights:
    """A PuVAE's trained weights, and what they were trained for.

    Attributes:
        model: the model's name, of its data set.
        classes: class names, K of them.
        contract: the images' shape.
        score: how the winning projection is chosen.
        ranks: of the layers that are products of two thin ones.
        tensors: the parameters by their names in `PuVAE.state_dict()`.
        sha256: of the file.
        normalized: whether contrast is normalized in front of the trunk, and given back to the candidates.
    """

    model: str
    classes: tuple[str, ...]
    contract: ImageContract
    score: Score
    ranks: Ranks
    tensors: Mapping[str, Array]
    sha256: str
    normalized: bool = False

    def dense(self, layer: str) -> Array:
        """The weight [outputs, inputs, ...] of a fully connected or a 7x7 layer, low-rank factors multiplied back."""
        if f"{layer}.weight" in self.tensors:
            return self.tensors[f"{layer}.weight"]
        return product(self.tensors[f"{layer}.0.weight"], self.tensors[f"{layer}.1.weight"])

    def bias(self, layer: str) -> Array:
        """The bias [outputs] of a layer."""
        return self.tensors[f"{layer}.bias" if f"{layer}.bias" in self.tensors else f"{layer}.1.bias"]


def product(first: Array, second: Array) -> Array:
    """The weight of one layer that equals `first` and then `second`, with nothing between.

    Args:
        first: a matrix [R,I], or a kernel [R,I,A,1].
        second: a matrix [O,R], or a kernel [O,R,1,B].
    Returns:
        [O,I], or [O,I,A,B].
    """
    if first.ndim == 2:
        return second @ first
    merged: Array = np.einsum("rca,orb->ocab", first[..., 0], second[:, :, 0])
    return merged


def load_weights(path: Path) -> Weights:
    """The weights in a .safetensors file.

    Raises:
        BuildError: the file is absent, damaged, or holds no PuVAE.
    """
    header, tensors = read_checkpoint(
        path, PuvaeHeader, lambda h: expected_shapes(h.contract, len(h.classes), h.thin())
    )
    return Weights(
        model=header.model,
        classes=header.classes,
        contract=header.contract,
        score=header.score,
        ranks=header.thin(),
        tensors=tensors,
        sha256=sha256_of(path),
        normalized=header.normalized,
    )


def expected_shapes(contract: ImageContract, classes: int, ranks: Ranks) -> Shapes:
    """The shape of every tensor of a PuVAE, by its name."""
    features = WIDTH * contract.height * contract.width
    grid = WIDTH * DECODER_GRID**2
    shapes: Shapes = {"fc1_label.weight": (HIDDEN, classes)}
    shapes |= _linear("fc1_image", features, HIDDEN, ranks.fc1)
    shapes |= _linear("fc2", HIDDEN, HIDDEN, ranks.fc2)
    shapes |= _linear("fc3", HIDDEN, 2 * LATENT, None)
    shapes |= _linear("decoder_fc", LATENT + classes, grid, None)
    for i, rank in enumerate((None, ranks.trunk, ranks.trunk)):
        shapes |= _convolution(f"trunk.convs.{i}", WIDTH if i else contract.channels, rank)
    for i, outputs in enumerate((WIDTH, WIDTH, contract.channels)):
        shapes |= {f"deconvs.{i}.weight": (WIDTH, outputs, KERNEL, KERNEL), f"deconvs.{i}.bias": (outputs,)}
    return shapes


def _linear(name: str, inputs: int, outputs: int, rank: int | None) -> Shapes:
    if rank is None:
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return {
        f"{name}.0.weight": (rank, inputs),
        f"{name}.1.weight": (outputs, rank),
        f"{name}.1.bias": (outputs,),
    }


def _convolution(name: str, inputs: int, rank: int | None) -> Shapes:
    if rank is None:
        return {f"{name}.weight": (WIDTH, inputs, KERNEL, KERNEL), f"{name}.bias": (WIDTH,)}
    return {
        f"{name}.0.weight": (rank, inputs, KERNEL, 1),
        f"{name}.1.weight": (WIDTH, rank, 1, KERNEL),
        f"{name}.1.bias": (WIDTH,),
    }
