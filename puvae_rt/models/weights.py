"""PuVAE weights out of a .safetensors file; every name, shape, type and setting is checked. No PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import ContractError
from puvae_rt.files import sha256_of
from puvae_rt.models.checkpoint import Array, Shapes, read_checkpoint
from puvae_rt.models.header import PRIOR_PREFIX, PuvaeHeader, require_shortlist
from puvae_rt.models.spec import DECODER_GRID, HIDDEN, KERNEL, LATENT, PRIOR_KERNEL, WIDTH, PriorLayers, Ranks

WEIGHTS_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Weights:
    """A PuVAE's trained weights, and what they were trained for.

    Attributes:
        model: the model's name, of its data set.
        classes: class names, K of them.
        contract: the images' shape.
        score: how the winning projection is chosen, with the prior where there is one.
        ranks: of the layers that are products of two thin ones.
        tensors: the parameters by their names in `PuVAE.state_dict()`.
        sha256: of the file.
        normalized: whether contrast is normalized in front of the trunk, and given back to the candidates.
        prior: the layers of the prior, whose tensors' names begin with `PRIOR_PREFIX`; None without one.
        shortlist: how many classes are decoded, those that the prior ranks first; None is all K.
    """

    model: str
    classes: tuple[str, ...]
    contract: ImageContract
    score: Score
    ranks: Ranks
    tensors: Mapping[str, Array]
    sha256: str
    normalized: bool = False
    prior: PriorLayers | None = None
    shortlist: int | None = None

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


def load_weights(path: Path, prior: bool = True, shortlist: int | None = None) -> Weights:
    """The weights in a .safetensors file.

    Args:
        path: of the file.
        prior: whether to choose with the prior, where the file has one; otherwise by distance alone, as in the paper.
        shortlist: how many classes to decode; by default the file's own number, or all without a prior.
    Raises:
        BuildError: the file is absent, damaged, or holds no PuVAE.
        ContractError: a shortlist of more classes than there are, or without a prior that ranks them.
    """
    header, tensors = read_checkpoint(path, PuvaeHeader, _shapes)
    part = header.prior if prior else None
    if part is None and shortlist not in (None, len(header.classes)):
        raise ContractError(f"shortlist={shortlist} without a prior, which ranks the classes; leave --shortlist out")
    if shortlist is not None:
        require_shortlist(shortlist, len(header.classes))
    decoded = shortlist or (part.shortlist if part else None)
    return Weights(
        model=header.model,
        classes=header.classes,
        contract=header.contract,
        score=part.score if part else header.score,
        ranks=header.thin(),
        tensors={name: value for name, value in tensors.items() if part or not name.startswith(PRIOR_PREFIX)},
        sha256=sha256_of(path),
        normalized=header.normalized,
        prior=part.layers if part else None,
        shortlist=None if decoded == len(header.classes) else decoded,
    )


def _shapes(header: PuvaeHeader) -> Shapes:
    shapes = expected_shapes(header.contract, len(header.classes), header.thin())
    return shapes | (prior_shapes(header.contract, len(header.classes), header.prior.layers) if header.prior else {})


def prior_shapes(contract: ImageContract, classes: int, layers: PriorLayers) -> Shapes:
    """The shape of every tensor of a prior in the file of its PuVAE, by its name."""
    shapes: Shapes = {}
    channels, height, width = contract.shape
    for place, (outputs, stride) in enumerate(layers.convs):
        kernel = (outputs, channels, PRIOR_KERNEL, PRIOR_KERNEL)
        shapes |= {f"convs.{place}.weight": kernel, f"convs.{place}.bias": (outputs,)}
        channels, height, width = outputs, -(-height // stride), -(-width // stride)
    shapes |= _linear("hidden", channels * height * width, layers.hidden, None)
    shapes |= _linear("out", layers.hidden, classes, None)
    return {f"{PRIOR_PREFIX}{name}": shape for name, shape in shapes.items()}


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
