"""Trained weights with everything needed to use them: what a training leaves and an export starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from puvae_rt.contract import Score
from puvae_rt.data import Dataset
from puvae_rt.errors import CheckpointError, ContractError
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.gan import Generator
from puvae_rt.models.header import (
    CLASSIFIER,
    FORMAT,
    GENERATOR,
    PRIOR,
    PRIOR_PREFIX,
    PUVAE,
    REFORMER,
    ClassifierHeader,
    GeneratorHeader,
    Header,
    PriorHeader,
    PuvaeHeader,
    ReformerHeader,
    decode_header,
)
from puvae_rt.models.magnet import reformer
from puvae_rt.models.prior import Prior
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.selector import Selector
from puvae_rt.refusal import printable
from puvae_rt.training.checkpoint import load_tensors, save_tensors

__all__ = [
    "CLASSIFIER",
    "GENERATOR",
    "LOW_RANK",
    "PUVAE",
    "REFORMER",
    "dense",
    "load_classifier",
    "load_generator",
    "load_puvae",
    "load_reformer",
    "save_classifier",
    "save_network",
    "save_puvae",
]

_REMEDY = "give a .safetensors that `puvae train` wrote, or train again"
_TYPES = (torch.float32, torch.float16)  # FP16 is how baselines are kept
_THIN = ".0.weight"  # ends the name of the first of two thin layers
WITH_PRIOR = "_prior"  # behind the name of a PuVAE whose prior is in the same file
LOW_RANK = "_low_rank"  # behind the name of a PuVAE whose layers calib.low_rank has factored
Tensors = dict[str, torch.Tensor]
Prepare = Callable[[Tensors], Tensors]
Network = TypeVar("Network", bound=nn.Module)


def describe(dataset: Dataset, kind: str) -> dict[str, Any]:
    """What the header of every network's weights says: format, kind, dataset, classes and image shape."""
    return {
        "format": FORMAT,
        "model": dataset.name,
        "kind": kind,
        "classes": list(dataset.classes),
        "contract": asdict(dataset.contract),
    }


def save_puvae(path: Path, model: PuVAE, dataset: Dataset, score: Score, history: dict[str, Any]) -> None:
    """Write the weights and metadata of a PuVAE; `history` holds recipe, schedule and whatever else explains them."""
    meta = describe(dataset, PUVAE) | {"ranks": model.ranks._asdict(), "score": asdict(score)}
    meta |= {"normalized": True} if model.normalized else {}
    save_tensors(path, model.state_dict(), meta | history)


def save_selector(path: Path, selector: Selector, distance: Score, dataset: Dataset, history: dict[str, Any]) -> None:
    """Write a PuVAE and its prior, in FP16, in one file; `distance` is the score without the prior."""
    vae, prior = selector.vae, selector.prior
    if prior is None:
        raise ContractError(f"{path}: no prior to write; give one, or use save_puvae")
    meta = describe(dataset, PUVAE) | {"ranks": vae.ranks._asdict(), "score": asdict(distance)}
    meta |= {"normalized": True} if vae.normalized else {}
    shortlist = selector.shortlist or vae.classes
    meta |= {"prior": {"layers": asdict(prior.layers), "score": asdict(selector.score), "shortlist": shortlist}}
    tensors = vae.state_dict() | {f"{PRIOR_PREFIX}{name}": value for name, value in prior.state_dict().items()}
    save_tensors(path, {name: value.half() for name, value in tensors.items()}, meta | history)


def save_prior(path: Path, model: Prior, dataset: Dataset, history: dict[str, Any]) -> None:
    """Write the weights and metadata of a prior; `history` as in `save_puvae`."""
    meta = describe(dataset, PRIOR) | {"layers": asdict(model.layers), "normalized": model.normalized}
    save_tensors(path, model.state_dict(), meta | history)


def save_classifier(path: Path, model: nn.Module, architecture: str, dataset: Dataset, history: dict[str, Any]) -> None:
    """Write the weights and metadata of a classifier; `history` as in `save_puvae`."""
    save_tensors(path, model.state_dict(), describe(dataset, CLASSIFIER) | {"architecture": architecture} | history)


def save_network(path: Path, model: nn.Module, kind: str, dataset: Dataset, history: dict[str, Any]) -> None:
    """Write a network that its `kind` (REFORMER, GENERATOR) and image shape describe in full."""
    save_tensors(path, model.state_dict(), describe(dataset, kind) | history)


def load_puvae(path: Path) -> tuple[PuVAE, dict[str, Any]]:
    """The model in evaluation mode, and its metadata.

    Raises:
        CheckpointError: not a PuVAE artefact, or tensors that are not finite or do not fit its description.
    """
    header, tensors, meta = _load(path, PuvaeHeader)
    own = {name: value for name, value in tensors.items() if not name.startswith(PRIOR_PREFIX)}
    return _puvae(path, header, own), meta | {"score": asdict(header.score)}


def load_selector(path: Path) -> tuple[Selector, Score, dict[str, Any]]:
    """A PuVAE with its prior, if it has one; the score without the prior; the metadata. Errors as of `load_puvae`."""
    header, tensors, meta = _load(path, PuvaeHeader)
    own = {name: value for name, value in tensors.items() if not name.startswith(PRIOR_PREFIX)}
    vae, part = _puvae(path, header, own), header.prior
    if part is None:
        return Selector(vae, header.score), header.score, meta
    rest = {name.removeprefix(PRIOR_PREFIX): tensors[name] for name in tensors.keys() - own.keys()}
    prior = _filled(path, lambda: Prior(vae.contract, vae.classes, part.layers, vae.normalized), rest)
    shortlist = None if part.shortlist == vae.classes else part.shortlist
    return Selector(vae, part.score, prior, shortlist), header.score, meta


def _puvae(path: Path, header: PuvaeHeader, tensors: Tensors) -> PuVAE:
    classes, ranks = len(header.classes), header.thin()
    return _filled(path, lambda: PuVAE(header.contract, classes, ranks, header.normalized), tensors)


def load_prior(path: Path) -> tuple[Prior, dict[str, Any]]:
    """A prior in evaluation mode, and its metadata; errors as of `load_puvae`."""
    header, tensors, meta = _load(path, PriorHeader)
    make = partial(Prior, header.contract, len(header.classes), header.layers, header.normalized)
    return _filled(path, make, tensors), meta


def load_classifier(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A classifier in evaluation mode, and its metadata; errors as of `load_puvae`.

    Layers that `export.thin_classifier` factored are multiplied back.
    """
    header, tensors, meta = _load(path, ClassifierHeader)
    classes = len(header.classes)
    make = partial(classifier, header.architecture, header.contract, classes, header.normalized)
    return _filled(path, make, tensors, dense), meta


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
    """MagNet's reformer in evaluation mode, and its metadata; errors as of `load_puvae`."""
    header, tensors, meta = _load(path, ReformerHeader)
    return _filled(path, lambda: reformer(header.contract), tensors), meta


def load_generator(path: Path) -> tuple[Generator, dict[str, Any]]:
    """Defense-GAN's generator in evaluation mode, and its metadata; errors as of `load_puvae`."""
    header, tensors, meta = _load(path, GeneratorHeader)
    return _filled(path, lambda: Generator(header.contract), tensors), meta


def _load(path: Path, kind: type[Header]) -> tuple[Header, Tensors, dict[str, Any]]:
    """The checked header, the tensors, finite and in FP32 or FP16, and the whole metadata with its history."""
    tensors, meta = load_tensors(path)
    header = decode_header(meta, kind, str(path), _REMEDY, CheckpointError)
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise CheckpointError(f"{path}: {name}: got {tensor.dtype}, expected FP32 or FP16; {_REMEDY}")
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity, expected finite numbers; train again")
    return header, tensors, meta


def _filled(path: Path, make: Callable[[], Network], tensors: Tensors, prepare: Prepare = dict) -> Network:
    """The network of `make` with the tensors as its parameters, in evaluation mode."""
    try:
        with torch.device("meta"):  # shapes alone: a description that does not fit cannot ask for memory
            make().load_state_dict(prepare({name: tensor.to("meta") for name, tensor in tensors.items()}))
        model = make()
        model.load_state_dict(prepare(tensors))
    except (RuntimeError, ContractError) as error:
        raise CheckpointError(
            f"{path}: weights do not fit their description ({printable(error)}); train or fetch again"
        ) from error
    return model.eval().requires_grad_(False)
