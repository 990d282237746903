"""Trained systems out of a folder of artefacts, as `puvae_rt.train`, `calib.low_rank` and `puvae_rt.train_baselines`
leave them, as `puvae_rt.evaluation.baselines` keeps them beside the results, or as they ship with the package."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from onnx import numpy_helper
from torch import nn

from puvae_rt.attacks.radii import radii_of
from puvae_rt.defenses.defense_gan import DefenseGan
from puvae_rt.defenses.gan_search import Search
from puvae_rt.defenses.magnet import MagNet
from puvae_rt.defenses.protocol import Defended, Defense, NoDefense
from puvae_rt.defenses.puvae import Puvae, RefinedPuvae, Refinement
from puvae_rt.defenses.trivial import BitDepth, Jpeg, Median, Threshold
from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation.attacked import Victim
from puvae_rt.evaluation.cells import (
    BIT_DEPTH,
    DEFENSE_GAN,
    JPEG,
    MAGNET,
    MEDIAN,
    NONE,
    PRIOR_ONLY,
    PUVAE_OURS,
    PUVAE_PAPER,
    PUVAE_RMSE,
    THRESHOLD,
    TRAINED_CLASSIFIERS,
)
from puvae_rt.files import sha256_of
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.layout import channels_last
from puvae_rt.models.selector import Selector
from puvae_rt.onnx_io import read_onnx
from puvae_rt.runtime.assets import WEIGHTS_FILE, shipped, shipped_names
from puvae_rt.training.artefacts import (
    LOW_RANK,
    WITH_PRIOR,
    dense,
    load_classifier,
    load_generator,
    load_reformer,
    load_selector,
)
from puvae_rt.training.device import CPU
from puvae_rt.training.recipes import HISTORY

SUFFIX, ONNX = ".safetensors", ".onnx"
SIGMA_EPS = {PUVAE_PAPER: 0.1, PUVAE_OURS: 0.0, PUVAE_RMSE: 0.0}  # the paper's choice, and what is deployed
TRIVIAL: dict[str, type[Threshold | BitDepth | Jpeg | Median]] = {
    THRESHOLD: Threshold,
    BIT_DEPTH: BitDepth,
    JPEG: Jpeg,
    MEDIAN: Median,
}


class System(NamedTuple):
    """A defended classifier with what a result has to say about it."""

    defended: Defended
    weights: dict[str, str]  # artefact -> the beginning of its sha256
    settings: dict[str, Any]


class Folder:
    """The artefacts of one dataset: those of `models`, else those in `kept`, else those that ship; on `device`."""

    def __init__(self, models: Path, dataset: str, kept: Path | None = None, device: torch.device = CPU) -> None:
        self.path, self.device = models / dataset, device
        self._folders = (self.path, *([kept / dataset] if kept else []))

    def classifier(self, architecture: str) -> nn.Module:
        """M_t, the undefended classifier, in the memory order in which attacks on it take the least time."""
        path = self.weights(f"classifier_{architecture.lower()}")
        model = _from_onnx(path, architecture) if path.suffix == ONNX else load_classifier(path)[0]
        return channels_last(model.to(self.device))

    def victim(self, architecture: str) -> Victim:
        """The undefended classifier as attacks see it, with the digest of its weights."""
        return Victim(self.classifier(architecture), self.digest(f"classifier_{architecture.lower()}"))

    def selector(self, defense: str) -> tuple[Selector, dict[str, Any]]:
        """The PuVAE of a defense with its choice, and its metadata.

        Raises:
            CheckpointError: no such file, or `PRIOR_ONLY` of one without a prior.
        """
        path = self.weights(artefact(defense))
        selector, distance, meta = load_selector(path)
        selector.vae.to(self.device)
        if selector.prior is not None:
            selector.prior.to(self.device)
        if defense == PUVAE_RMSE:
            return Selector(selector.vae, distance), meta
        if defense == PRIOR_ONLY and selector.prior is None:
            raise CheckpointError(f"{path}: has no prior; train one with `puvae train-prior`")
        return selector, meta

    def weights(self, name: str) -> Path:
        """The file of an artefact's weights; of PuVAE those with a prior, else at low rank, where there are any.

        Raises:
            CheckpointError: there is none.
        """
        for folder, form in product(self._folders, (WITH_PRIOR, LOW_RANK, "")):
            if (path := folder / f"{name}{form}{SUFFIX}").is_file():
                return path
        if self.path.name in shipped_names():
            model, file = shipped(self.path.name), WEIGHTS_FILE if name == PUVAE_OURS else f"{name}{ONNX}"
            if file in model.sha256:
                return model.path(file)
        command = "train" if name.startswith(("classifier", "puvae")) else "train-baselines"
        raise CheckpointError(
            f"{self.path / name}{SUFFIX}: no such file; train it with `puvae {command}`, or give --runs"
        )

    def has(self, defense: str, architecture: str) -> bool:
        """Whether a defense of this classifier needs no weights of its own, or has them."""
        try:
            if defense == PRIOR_ONLY:
                self.selector(defense)
            elif defense != NONE and defense not in TRIVIAL:
                self.weights(artefact(defense, architecture))
        except CheckpointError:
            return False
        return True

    def digest(self, name: str) -> str:
        """The first 16 hexadecimal digits of an artefact's sha256."""
        return sha256_of(self.weights(name))[:16]


def artefact(defense: str, architecture: str = "") -> str:
    """The name of the weights of a defense that is trained; those of `TRAINED_CLASSIFIERS` are an architecture's."""
    if defense in TRAINED_CLASSIFIERS:
        return f"{defense}_{architecture.lower()}"
    return PUVAE_OURS if defense in (PUVAE_RMSE, PRIOR_ONLY) else defense


def build(folder: Folder, defense: str, architecture: str, seed: int, search: Search, refine: int) -> System:
    """The classifier `architecture` behind `defense`; of one that replaces it, the weights name the attacked one too.

    `search` is for Defense-GAN; `refine` steps of the anytime refinement follow PuVAE (ours), 0 is feed-forward.
    """

    def system(
        defense: Defense,
        artefacts: tuple[str, ...] = (),
        settings: Mapping[str, Any] = {},
        model: nn.Module | None = None,
    ) -> System:
        names = (f"classifier_{architecture.lower()}", *artefacts)
        defended = Defended(defense, model or folder.classifier(architecture))
        return System(defended, {name: folder.digest(name) for name in names}, dict(settings))

    if defense == NONE:
        return system(NoDefense())
    if defense in TRIVIAL:
        trivial = TRIVIAL[defense]()
        return system(trivial, settings=vars(trivial))
    name = artefact(defense, architecture)
    if defense in TRAINED_CLASSIFIERS:
        model, meta = load_classifier(folder.weights(name))
        return system(NoDefense(), (name,), _history(meta), model.to(folder.device))
    if defense == MAGNET:
        reformer, meta = load_reformer(folder.weights(MAGNET))
        reformer.to(folder.device)
        return system(MagNet(reformer), (MAGNET,), _history(meta))
    if defense == DEFENSE_GAN:
        generator, meta = load_generator(folder.weights(DEFENSE_GAN))
        generator.to(folder.device)
        settings: dict[str, Any] = {k: getattr(search, k) for k in ("steps", "restarts", "rate", "spread")}
        return system(DefenseGan(generator, search), (DEFENSE_GAN,), settings | _history(meta))
    selector, meta = folder.selector(defense)
    if defense == PRIOR_ONLY and selector.prior is not None:
        return system(NoDefense(), (name,), _history(meta), channels_last(selector.prior))
    vae, score, sigma = selector.vae, selector.score, SIGMA_EPS[defense]
    settings = {"sigma_eps": sigma, **_choice(selector)} | _history(meta)
    if refine and defense == PUVAE_OURS:
        refinement = Refinement(steps=refine, tau=radii_of(vae.contract).epsilon)
        purifier: Defense = RefinedPuvae(vae, score, refinement, selector.prior, selector.shortlist)
        settings |= {"refinement": vars(refinement)}
    else:
        purifier = Puvae(vae, score, sigma, seed, selector.prior, selector.shortlist)
    return system(purifier, (name,), settings)


def _choice(selector: Selector) -> dict[str, Any]:
    """What decides the choice; without a prior nothing is said of one."""
    score, prior = selector.score, {}
    if selector.prior is not None:
        prior = {"prior_weight": score.prior_weight, "shortlist": selector.shortlist}
    return {"tau": score.tau, "kl_weight": score.kl_weight} | prior


def _from_onnx(path: Path, architecture: str) -> nn.Module:
    """A shipped classifier as a module, in FP32: the graph's weights carry the names of the module's parameters."""
    model = shipped(path.parent.name)
    graph = read_onnx(path, error=CheckpointError, remedy="reinstall the package").graph
    normalized = any(node.op_type == "InstanceNormalization" for node in graph.node)
    module = classifier(architecture, model.contract, len(model.classes), normalized)
    stored = {weight.name: torch.tensor(numpy_helper.to_array(weight)) for weight in graph.initializer}
    parameters = dense(stored)
    module.load_state_dict({name: parameters[name] for name in module.state_dict()})
    return module.eval().requires_grad_(False)


def _history(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: meta[key] for key in HISTORY if key in meta}
