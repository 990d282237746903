"""What `--model` names: a shipped model, a checkpoint or an ONNX file of ours, as FP32 graphs to build from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from export.settings import EXACT
from puvae_rt._moved import renamed
from puvae_rt.errors import BuildError, UnknownModelError
from puvae_rt.files import sha256_of
from puvae_rt.graph import plan
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.onnx_file import read_puvae
from puvae_rt.graph.passes.shortlist import SHORTLIST
from puvae_rt.graph.prior import LOG_P
from puvae_rt.graph.reference import straightforward
from puvae_rt.models.header import require_shortlist
from puvae_rt.models.weights import Weights, load_weights
from puvae_rt.runtime.arguments import Choice
from puvae_rt.runtime.assets import WEIGHTS_FILE, ShippedModel, shipped, shipped_names


@dataclass(frozen=True)
class SourceModel:
    """A model in FP32, image -> purified, label, rmse, score, before and after the exact passes."""

    description: Description  # of `exact`
    exact: Graph
    plain: Graph | None  # the straightforward graph, low rank kept; None where only `exact` is known
    weights: Weights | None
    sha256: str  # of the file it was read from
    shipped: ShippedModel | None

    def graph(self, passes: str) -> tuple[Graph, Description]:
        """The graph with the passes asked for, and its description. Without any, low rank is multiplied back, and every
        class is decoded.
        """
        if passes == EXACT:
            return self.exact, self.description
        if self.plain is None:
            raise BuildError(
                "--passes none: the .onnx has had the exact passes, which cannot be undone; give the checkpoint "
                "(.safetensors) or a shipped model's name"
            )
        plain = self.plain if self.weights is None else straightforward(self.weights, self.description.sigma)
        return plain, replace(self.description, passes=(), shortlist=None)


def read_source(model: str, sigma: float, choice: Choice = Choice()) -> SourceModel:
    """The model that `--model` names.

    Raises:
        UnknownModelError: no shipped model, and no file of a known kind.
        BuildError: the file is damaged, of another sigma, or an ONNX file that chooses otherwise.
        ContractError: a shortlist of more classes than there are, or without a prior.
    """
    path = Path(model)
    if path.suffix == ".onnx":
        return _from_onnx(path, sigma, choice)
    if path.suffix == ".safetensors":
        return _from_checkpoint(path, sigma, None, choice)
    if model not in shipped_names():
        known = ", ".join(shipped_names()) or "none"
        raise UnknownModelError(f"--model {model}: not shipped ({known}), and no .safetensors or .onnx file")
    found = shipped(model)
    return _from_checkpoint(found.path(WEIGHTS_FILE), sigma, found, choice)


def _from_checkpoint(path: Path, sigma: float, found: ShippedModel | None, choice: Choice) -> SourceModel:
    weights = load_weights(path, choice.with_prior, choice.shortlist)
    plain = straightforward(weights, sigma, dense=False)
    described = Description(
        weights.model, weights.classes, weights.contract, weights.score, sigma, (), weights.shortlist
    )
    exact, description = plan.exact(plain, described)
    return SourceModel(description, exact, plain, weights, weights.sha256, found)


def _from_onnx(path: Path, sigma: float, choice: Choice) -> SourceModel:
    graph, description = read_puvae(path)
    if description.sigma != sigma:
        raise BuildError(f"{path}: made for --sigma {description.sigma:g}, asked for {sigma:g}; give the checkpoint")
    description = _chosen(path, graph, description, choice)
    plain = None if description.passes else graph
    exact, description = plan.exact(graph, description)
    return SourceModel(description, exact, plain, None, sha256_of(path), None)


def _chosen(path: Path, graph: Graph, description: Description, choice: Choice) -> Description:
    """The description with another shortlist, where the graph still ranks all classes; its prior is there to stay."""
    if not choice.with_prior and graph.producer(LOG_P) is not None:
        raise BuildError(f"{path}: made with its prior, asked for --prior {choice.prior}; give the checkpoint")
    every = len(description.classes)
    if choice.shortlist in (None, description.shortlist or every):
        return description
    require_shortlist(choice.shortlist, every)
    if graph.producer(LOG_P) is None or SHORTLIST in description.passes:
        raise BuildError(
            f"{path}: made to decode {description.shortlist or every} classes, asked for --shortlist "
            f"{choice.shortlist}; give the checkpoint of a model with a prior"
        )
    return replace(description, shortlist=None if choice.shortlist == every else choice.shortlist)


__getattr__ = renamed(__name__, {"Source": "SourceModel"})
