"""The models shipped in the package: puvae_rt/assets/<name>/, with a model.json that hashes every file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import BundleError, UnknownModelError
from puvae_rt.files import difference
from puvae_rt.models.header import Shortlist
from puvae_rt.refusal import brief
from puvae_rt.schema import Classes, FileHashes, Name, check_version, decode, read_json

ASSETS = Path(__file__).parent.parent / "assets"
MODEL_FILE = "model.json"
MODEL_FORMAT = 1
WEIGHTS_FILE, SAMPLES_FILE = "weights.safetensors", "samples.npz"
_MAX_MODEL_BYTES = 1 << 20
_ONNX = ".onnx"
_REMEDY = "reinstall the package"


@dataclass(frozen=True)
class ModelDescription:
    """What a model.json says."""

    model: Name
    classes: Classes
    contract: ImageContract
    score: Score
    default_classifier: Name  # file name without ".onnx"
    sha256: FileHashes
    # How many classes are decoded, those that the weights' prior ranks first; None is all.
    shortlist: Shortlist | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ShippedModel(ModelDescription):
    """A shipped folder and what its model.json says."""

    folder: Path

    def path(self, file: str) -> Path:
        """`file` inside the folder, with its sha256 checked; BundleError when absent, unlisted or changed."""
        if file not in self.sha256:
            raise BundleError(f"{self.model}: no file {file!r}, it ships {', '.join(sorted(self.sha256))}")
        path = self.folder / file
        if (problem := difference(path, self.sha256[file])) is not None:
            raise BundleError(f"{path}: {problem}; {_REMEDY}")
        return path

    def classifier(self, name: str | None = None) -> Path:
        """A shipped classifier, e.g. "classifier_b"; the default one without a name. BundleError for another name."""
        file = f"{name or self.default_classifier}{_ONNX}"
        if file in self.sha256:
            return self.path(file)
        names = sorted(file.removesuffix(_ONNX) for file in self.sha256 if file.endswith(_ONNX))
        letter = f"classifier_{str(name).lower()}"  # architectures go by their letter elsewhere
        close = [letter] if letter in names else difflib.get_close_matches(str(name).lower(), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ", or an .onnx file"
        raise BundleError(
            f"{self.model}: no classifier {brief(name)}; expected one of those that it ships: {', '.join(names)}{hint}"
        )


def shipped_names(assets: Path = ASSETS) -> tuple[str, ...]:
    """Names of the models in the package, sorted."""
    return tuple(sorted(path.parent.name for path in assets.glob(f"*/{MODEL_FILE}")))


def shipped(name: str, assets: Path = ASSETS) -> ShippedModel:
    """The shipped model `name`; UnknownModelError when there is none."""
    names = shipped_names(assets)
    if name not in names:
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else "give one of them or a bundle's folder"
        raise UnknownModelError(f"no shipped model {brief(name)}; shipped: {', '.join(names) or 'none'}; {hint}")
    return read_model(assets / name)


def read_model(folder: Path) -> ShippedModel:
    """The model.json of a shipped folder, validated."""
    path = folder / MODEL_FILE
    document = read_json(path, _MAX_MODEL_BYTES, _REMEDY)
    check_version(document, "format", MODEL_FORMAT, str(path), _REMEDY)
    described = decode(document, ModelDescription, str(path), _REMEDY)
    return ShippedModel(**vars(described), folder=folder)
