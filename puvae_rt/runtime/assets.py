"""The models shipped in the package: puvae_rt/assets/<name>/, with a model.json that hashes every file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import BundleError, UnknownModelError
from puvae_rt.files import difference
from puvae_rt.runtime.fields import Fields, read_classes, read_contract, read_score

ASSETS = Path(__file__).parent.parent / "assets"
MODEL_FILE = "model.json"
MODEL_FORMAT = 1
WEIGHTS_FILE, SAMPLES_FILE = "weights.safetensors", "samples.npz"
_MAX_MODEL_BYTES = 1 << 20
_REMEDY = "reinstall the package"


@dataclass(frozen=True)
class ShippedModel:
    folder: Path
    model: str
    classes: tuple[str, ...]
    contract: ImageContract
    score: Score
    default_classifier: str  # file name without ".onnx"
    sha256: Mapping[str, str]  # file name -> hash

    def path(self, file: str) -> Path:
        """`file` inside the folder, with its sha256 checked; BundleError when absent, unlisted or changed."""
        if file not in self.sha256:
            raise BundleError(f"{self.model}: no file {file!r}, it ships {', '.join(sorted(self.sha256))}")
        path = self.folder / file
        if (problem := difference(path, self.sha256[file])) is not None:
            raise BundleError(f"{path}: {problem}; {_REMEDY}")
        return path

    def classifier(self, name: str | None = None) -> Path:
        """A shipped classifier, e.g. "classifier_b"; the default one without a name."""
        return self.path(f"{name or self.default_classifier}.onnx")


def shipped_names(assets: Path = ASSETS) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in assets.glob(f"*/{MODEL_FILE}")))


def shipped(name: str, assets: Path = ASSETS) -> ShippedModel:
    """The shipped model `name`; UnknownModelError when there is none."""
    names = shipped_names(assets)
    if name not in names:
        known = ", ".join(names) or "none"
        raise UnknownModelError(f"no shipped model {name!r}; shipped: {known}. Give one of them or a bundle's folder")
    return read_model(assets / name)


def read_model(folder: Path) -> ShippedModel:
    """The model.json of a shipped folder, validated."""
    path = folder / MODEL_FILE
    try:
        if path.stat().st_size > _MAX_MODEL_BYTES:
            raise BundleError(f"{path}: larger than {_MAX_MODEL_BYTES} bytes; {_REMEDY}")
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: unreadable ({error}); {_REMEDY}") from error
    fields = Fields(document, str(path), _REMEDY)
    if (got := fields.integer("format")) != MODEL_FORMAT:
        raise BundleError(f"{path}: format {got}, this version reads {MODEL_FORMAT}; {_REMEDY}")
    return ShippedModel(
        folder=folder,
        model=fields.name("model"),
        classes=read_classes(fields),
        contract=read_contract(fields.child("contract")),
        score=read_score(fields.child("score")),
        default_classifier=fields.name("default_classifier"),
        sha256=fields.child("sha256").hashes(),
    )
