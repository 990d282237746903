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
from puvae_rt.graph.reference import straightforward
from puvae_rt.models.weights import Weights, load_weights
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
        """The graph with the passes asked for, and its description. Without any, low rank is multiplied back."""
        if passes == EXACT:
            return self.exact, self.description
        if self.plain is None:
            raise BuildError(
                "--passes none: the .onnx has had the exact passes, which cannot be undone; give the checkpoint "
                "(.safetensors) or a shipped model's name"
            )
        plain = self.plain if self.weights is None else straightforward(self.weights, self.description.sigma)
        return plain, replace(self.description, passes=())


def read_source(model: str, sigma: float) -> SourceModel:
    """The model that `--model` names.

    Raises:
        UnknownModelError: no shipped model, and no file of a known kind.
        BuildError: the file is damaged, or of another sigma.
    """
    path = Path(model)
    if path.suffix == ".onnx":
        return _from_onnx(path, sigma)
    if path.suffix == ".safetensors":
        return _from_checkpoint(path, sigma, None)
    if model not in shipped_names():
        known = ", ".join(shipped_names()) or "none"
        raise UnknownModelError(f"--model {model}: not shipped ({known}), and no .safetensors or .onnx file")
    found = shipped(model)
    return _from_checkpoint(found.path(WEIGHTS_FILE), sigma, found)


def _from_checkpoint(path: Path, sigma: float, found: ShippedModel | None) -> SourceModel:
    weights = load_weights(path)
    plain = straightforward(weights, sigma, dense=False)
    described = Description(weights.model, weights.classes, weights.contract, weights.score, sigma, ())
    exact, description = plan.exact(plain, described)
    return SourceModel(description, exact, plain, weights, weights.sha256, found)


def _from_onnx(path: Path, sigma: float) -> SourceModel:
    graph, description = read_puvae(path)
    if description.sigma != sigma:
        raise BuildError(f"{path}: made for --sigma {description.sigma:g}, asked for {sigma:g}; give the checkpoint")
    plain = None if description.passes else graph
    exact, description = plan.exact(graph, description)
    return SourceModel(description, exact, plain, None, sha256_of(path), None)


__getattr__ = renamed(__name__, {"Source": "SourceModel"})
