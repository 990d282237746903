"""Trained weights with everything needed to use them: what a training leaves and an export starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from puvae_rt.contract import ImageContract, Score
from puvae_rt.data import Dataset
from puvae_rt.errors import CheckpointError
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.gan import Generator
from puvae_rt.models.magnet import reformer
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.spec import ARCHITECTURES, Ranks
from puvae_rt.training.checkpoint import load_tensors, save_tensors

FORMAT = 1
_THIN = ".0.weight"  # ends the name of the first of two thin layers
LOW_RANK = "_low_rank"  # behind the name of a PuVAE whose layers calib.low_rank has factored
Tensors = dict[str, torch.Tensor]
PUVAE, CLASSIFIER, REFORMER, GENERATOR = "puvae", "classifier", "reformer", "generator"


def describe(dataset: Dataset, kind: str) -> dict[str, Any]:
    contract = asdict(dataset.contract) | {"range": [0, 1]}
    return {
        "format": FORMAT,
        "model": dataset.name,
        "kind": kind,
        "classes": list(dataset.classes),
        "contract": contract,
    }


def save_puvae(path: Path, model: PuVAE, dataset: Dataset, score: Score, history: dict[str, Any]) -> None:
    """Weights and metadata as safetensors; `history` holds recipe, schedule and whatever else explains them."""
    meta = describe(dataset, PUVAE) | {"ranks": model.ranks._asdict(), "score": asdict(score)}
    meta |= {"normalized": True} if model.normalized else {}
    save_tensors(path, model.state_dict(), meta | history)


def save_classifier(path: Path, model: nn.Module, architecture: str, dataset: Dataset, history: dict[str, Any]) -> None:
    save_tensors(path, model.state_dict(), describe(dataset, CLASSIFIER) | {"architecture": architecture} | history)


def save_network(path: Path, model: nn.Module, kind: str, dataset: Dataset, history: dict[str, Any]) -> None:
    """A network that its `kind` (REFORMER, GENERATOR) and image shape describe in full."""
    save_tensors(path, model.state_dict(), describe(dataset, kind) | history)


def load_puvae(path: Path) -> tuple[PuVAE, dict[str, Any]]:
    """The model in evaluation mode, and its metadata.

    Raises:
        CheckpointError: not a PuVAE artefact, or tensors that do not fit its description.
    """
    tensors, meta = _load(path, PUVAE)
    model = PuVAE(_contract(meta), len(meta["classes"]), Ranks(**meta["ranks"]), meta.get("normalized", False))
    _fill(path, model, tensors)
    return model, meta


def load_classifier(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """As `load_puvae`, for a classifier; layers that `export.thin_classifier` factored are multiplied back."""
    tensors, meta = _load(path, CLASSIFIER)
    if meta.get("architecture") not in ARCHITECTURES:
        raise CheckpointError(f"{path}: architecture {meta.get('architecture')!r}; expected {', '.join(ARCHITECTURES)}")
    model = classifier(meta["architecture"], _contract(meta), len(meta["classes"]), meta.get("normalized", False))
    _fill(path, model, tensors, dense)
    return model, meta


def dense(tensors: Tensors) -> Tensors:
    """A classifier's parameters, in FP32: "L.0.weight" [rank, features], "L.1.weight" [units, rank] and "L.1.bias" of a
    layer L that `export.thin_classifier` factored become "L.weight" [units, features] and "L.bias"."""
    whole = {name: tensor.float() for name, tensor in tensors.items()}
    for layer in [name.removesuffix(_THIN) for name in whole if name.endswith(_THIN)]:
        first, second, bias = (whole.pop(f"{layer}.{part}", None) for part in ("0.weight", "1.weight", "1.bias"))
        if first is None or second is None or bias is None:
            continue  # the layer is missing then, as whoever loads the parameters says
        whole |= {f"{layer}.weight": second @ first, f"{layer}.bias": bias}
    return whole


def load_reformer(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """As `load_puvae`, for MagNet's reformer."""
    tensors, meta = _load(path, REFORMER)
    model = reformer(_contract(meta))
    _fill(path, model, tensors)
    return model, meta


def load_generator(path: Path) -> tuple[Generator, dict[str, Any]]:
    """As `load_puvae`, for Defense-GAN's generator."""
    tensors, meta = _load(path, GENERATOR)
    model = Generator(_contract(meta))
    _fill(path, model, tensors)
    return model, meta


def _load(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, meta = load_tensors(path)
    if (meta.get("format"), meta.get("kind")) != (FORMAT, kind):
        raise CheckpointError(
            f"{path}: format {meta.get('format')} kind {meta.get('kind')!r}; expected {FORMAT} {kind!r}"
        )
    return tensors, meta


def _contract(meta: dict[str, Any]) -> ImageContract:
    return ImageContract(*(meta["contract"][side] for side in ("channels", "height", "width")))


def _fill(path: Path, model: nn.Module, tensors: Tensors, prepare: Callable[[Tensors], Tensors] = dict) -> None:
    try:
        model.load_state_dict(prepare(tensors))
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: weights do not fit their description ({error}); train or fetch again"
        ) from error
    model.eval().requires_grad_(False)
