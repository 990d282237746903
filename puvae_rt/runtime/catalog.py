"""The models that ship, with what was measured of them: `puvae_rt.shipped_models()`, `puvae models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from puvae_rt.errors import BundleError
from puvae_rt.files import read_bytes
from puvae_rt.runtime.assets import ASSETS, WEIGHTS_FILE, ShippedModel, read_model, shipped_names
from puvae_rt.schema import Share, decode

ACCURACY_FILE = "accuracy.json"  # made of results/defense.json by puvae_rt.evaluation.shipped
CLEAN = "clean"
HASH_DIGITS = 16  # of a sha256, by which a measurement names the files it was made with
# A purifier is a defense where it leaves most of what the classifier could do, and stands against every stored attack.
LEAST_CLEAN_SHARE = 0.8  # of the classifier's own accuracy on clean images
LEAST_ATTACKED = 0.4  # accuracy under the strongest attack
_MAX_BYTES = 1 << 20
_REMEDY = "reinstall the package"


@dataclass(frozen=True)
class Measured:
    """A model in accuracy.json; `weights` and `classifier` are the first digits of their files' sha256."""

    weights: str
    classifier: str
    images: int
    epsilon: Share
    undefended: Mapping[str, Share]
    purified: Mapping[str, Share]

    def __post_init__(self) -> None:
        if CLEAN not in self.undefended or self.undefended.keys() != self.purified.keys():
            raise ValueError(
                f"got sets {sorted(self.undefended)} and {sorted(self.purified)}, expected {CLEAN} in both"
            )


@dataclass(frozen=True)
class AccuracyFile:
    """The whole of accuracy.json, by model."""

    models: Mapping[str, Measured]


@dataclass(frozen=True)
class ModelCard:
    """A shipped model and what was measured of it, with its default classifier.

    Attributes:
        name: as `Purifier.load` takes it.
        classes: their names.
        shape: of an image, channels, height, width.
        classifiers: that ship with it, the default one first.
        bytes: of all its files.
        images: test images it was measured on; 0 where nothing was measured with these files.
        undefended: accuracy (0 to 1) of the classifier alone, by image set: "clean", and each attack's name; the lower
            one of the targeted and the untargeted attack.
        purified: the same behind the purifier.
        epsilon: L-infinity radius of the attacks, of pixels in [0,1].
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    classifiers: tuple[str, ...]
    bytes: int
    images: int
    undefended: Mapping[str, float]
    purified: Mapping[str, float]
    epsilon: float | None

    @property
    def attacked(self) -> float | None:
        """Accuracy behind the purifier under the strongest attack that does not know the purifier."""
        return min((share for name, share in self.purified.items() if name != CLEAN), default=None)

    @property
    def experimental(self) -> bool:
        """Whether it is no defense: unmeasured, too much of the clean accuracy lost, or too weak under attack."""
        if self.attacked is None:
            return True
        kept = self.purified[CLEAN] >= LEAST_CLEAN_SHARE * self.undefended[CLEAN]
        return not (kept and self.attacked >= LEAST_ATTACKED)


def shipped_models(assets: Path = ASSETS) -> tuple[ModelCard, ...]:
    """Every model that ships, by name.

    Raises:
        BundleError: a damaged installation.
    """
    path = assets / ACCURACY_FILE
    try:
        data = read_bytes(path, _MAX_BYTES) if path.exists() else b'{"models": {}}'
    except OSError as error:
        raise BundleError(f"{error}; {_REMEDY}") from error
    measured = decode(data, AccuracyFile, str(path), _REMEDY).models
    return tuple(_card(model, measured.get(model.model)) for model in map(read_model, _folders(assets)))


def _folders(assets: Path) -> list[Path]:
    return [assets / name for name in shipped_names(assets)]


def _card(model: ShippedModel, measured: Measured | None) -> ModelCard:
    names = [name.removesuffix(".onnx") for name in model.sha256 if name.startswith("classifier_")]
    names.sort(key=lambda name: (name != model.default_classifier, name))
    files = (WEIGHTS_FILE, f"{model.default_classifier}.onnx")
    if measured is not None and (measured.weights, measured.classifier) != tuple(short_hash(model, f) for f in files):
        measured = None  # of other files than those that ship
    return ModelCard(
        name=model.model,
        classes=model.classes,
        shape=model.contract.shape,
        classifiers=tuple(names),
        bytes=sum((model.folder / name).stat().st_size for name in model.sha256),
        images=measured.images if measured else 0,
        undefended=measured.undefended if measured else {},
        purified=measured.purified if measured else {},
        epsilon=measured.epsilon if measured else None,
    )


def short_hash(model: ShippedModel, file: str) -> str:
    """The first digits of a shipped file's sha256, by which a measurement names it; empty when it does not ship."""
    return model.sha256.get(file, "")[:HASH_DIGITS]
