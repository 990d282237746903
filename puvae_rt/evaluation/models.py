"""Trained systems out of a folder of artefacts, as `puvae_rt.train` and `puvae_rt.train_baselines` leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from puvae_rt.contract import Score
from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation.attacked import Victim
from puvae_rt.evaluation.cells import ADV_TRAINING, DEFENSE_GAN, MAGNET, NONE, PUVAE_OURS, PUVAE_PAPER
from puvae_rt.models.puvae import PuVAE
from puvae_rt.robustness.defences.defense_gan import DefenseGan, Search
from puvae_rt.robustness.defences.magnet import MagNet
from puvae_rt.robustness.defences.protocol import Defence, Defended, NoDefence
from puvae_rt.robustness.defences.puvae import Puvae, RefinedPuvae, Refinement
from puvae_rt.runtime.manifest import sha256_of
from puvae_rt.training.artefacts import load_classifier, load_generator, load_puvae, load_reformer

SUFFIX = ".safetensors"
SIGMA_EPS = {PUVAE_PAPER: 0.1, PUVAE_OURS: 0.0}  # the paper's choice, and what is deployed
HISTORY = ("recipe", "schedule", "epsilon")  # of an artefact's metadata: how long and on what it was trained


class System(NamedTuple):
    """A defended classifier with what a result has to say about it."""

    defended: Defended
    weights: dict[str, str]  # artefact -> the beginning of its sha256
    settings: dict[str, Any]


class Folder:
    """The artefacts of one dataset."""

    def __init__(self, models: Path, dataset: str) -> None:
        self.path = models / dataset

    def classifier(self, architecture: str) -> nn.Module:
        """M_t, the undefended classifier."""
        return load_classifier(self.weights(f"classifier_{architecture.lower()}"))[0]

    def victim(self, architecture: str) -> Victim:
        return Victim(self.classifier(architecture), self.digest(f"classifier_{architecture.lower()}"))

    def puvae(self, defense: str) -> tuple[PuVAE, Score, dict[str, Any]]:
        model, meta = load_puvae(self.weights(defense))
        return model, Score(**meta["score"]), meta

    def weights(self, name: str) -> Path:
        path = self.path / f"{name}{SUFFIX}"
        if not path.is_file():
            command = "train" if name.startswith(("classifier", "puvae")) else "train_baselines"
            raise CheckpointError(
                f"{path}: no such file; train it with `python -m puvae_rt.{command}`, or give --models"
            )
        return path

    def digest(self, name: str) -> str:
        return sha256_of(self.weights(name))[:16]


def build(folder: Folder, defense: str, architecture: str, seed: int, search: Search, refine: int) -> System:
    """The classifier `architecture` behind `defense`.

    `search` is for Defense-GAN; `refine` steps of the anytime refinement follow PuVAE (ours), 0 is feed-forward.
    """
    classifier = f"classifier_{architecture.lower()}"
    if defense == NONE:
        return _system(folder, NoDefence(), classifier, (), {})
    if defense == ADV_TRAINING:
        name = f"{ADV_TRAINING}_{architecture.lower()}"
        return _system(folder, NoDefence(), name, (), _history(load_classifier(folder.weights(name))[1]))
    if defense == MAGNET:
        reformer, meta = load_reformer(folder.weights(MAGNET))
        return _system(folder, MagNet(reformer), classifier, (MAGNET,), _history(meta))
    if defense == DEFENSE_GAN:
        generator, meta = load_generator(folder.weights(DEFENSE_GAN))
        settings: dict[str, Any] = {"steps": search.steps, "restarts": search.restarts, "rate": search.rate}
        return _system(folder, DefenseGan(generator, search), classifier, (DEFENSE_GAN,), settings | _history(meta))
    model, score, meta = folder.puvae(defense)
    sigma = SIGMA_EPS[defense]
    settings = {"sigma_eps": sigma, "tau": score.tau, "kl_weight": score.kl_weight} | _history(meta)
    if refine and defense == PUVAE_OURS:
        refinement = Refinement(steps=refine)
        purifier: Defence = RefinedPuvae(model, score, refinement)
        settings |= {"refinement": vars(refinement)}
    else:
        purifier = Puvae(model, score, sigma, seed)
    return _system(folder, purifier, classifier, (defense,), settings)


def _system(
    folder: Folder, defence: Defence, classifier: str, artefacts: tuple[str, ...], settings: dict[str, Any]
) -> System:
    model, _ = load_classifier(folder.weights(classifier))
    names = (classifier, *artefacts)
    return System(Defended(defence, model), {name: folder.digest(name) for name in names}, settings)


def _history(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: meta[key] for key in HISTORY if key in meta}
