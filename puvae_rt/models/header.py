"""What a file of trained weights says about itself, as JSON in its header under the key "puvae". No PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from puvae_rt.contract import MAX_CLASSES, MIN_SHORTLIST, ImageContract, Score
from puvae_rt.errors import BundleError, ContractError, PuvaeError
from puvae_rt.models.spec import ARCHITECTURES, SIDES, SOURCE_ARCHITECTURES, PriorLayers, Ranks
from puvae_rt.refusal import shown
from puvae_rt.schema import Classes, Name, check_version, decode, integer, one_of, parse

META_KEY = "puvae"
FORMAT = 1
MAX_RANK = 4096
PUVAE, PRIOR, CLASSIFIER = "puvae", "prior", "classifier"
REFORMER, GENERATOR = "reformer", "generator"
KINDS = (PUVAE, PRIOR, CLASSIFIER, REFORMER, GENERATOR)

PRIOR_PREFIX = "prior."  # of the names of a prior's tensors in the file of its PuVAE

Rank = Annotated[int, integer(1, MAX_RANK)]
Shortlist = Annotated[int, integer(MIN_SHORTLIST, MAX_CLASSES)]


@dataclass(frozen=True)
class WeightsHeader:
    """What every kind of network says. Other keys of the document (recipe, schedule, ...) tell how it was trained."""

    KIND: ClassVar[str]

    model: Name
    classes: Classes
    contract: ImageContract


@dataclass(frozen=True)
class PriorPart:
    """A prior in the file of its PuVAE.

    Attributes:
        layers: of the prior, whose tensors' names begin with `PRIOR_PREFIX`.
        score: how the class is chosen with it.
        shortlist: how many classes are decoded, those that it ranks first.
    """

    layers: PriorLayers
    score: Score
    shortlist: Shortlist


@dataclass(frozen=True)
class PuvaeHeader(WeightsHeader):
    """PuVAE; ContractError for images that its decoder does not reach, or a shortlist of more classes than there are.

    `score` is the choice without a prior; ContractError when it weighs one.
    """

    KIND = PUVAE

    score: Score
    ranks: Mapping[Annotated[str, one_of(*Ranks._fields)], Rank | None]  # of layers that are products of two thin ones
    normalized: bool = False  # contrast, in front of the trunk
    prior: PriorPart | None = None

    def __post_init__(self) -> None:
        _require_side(self.contract, "PuVAE")
        if self.score.prior_weight:
            raise ContractError(f"score: got prior_weight={self.score.prior_weight}, expected 0 without the prior")
        if self.prior is not None:
            require_shortlist(self.prior.shortlist, len(self.classes))

    def thin(self) -> Ranks:
        """The ranks; None where a layer is dense."""
        return Ranks(**self.ranks)


@dataclass(frozen=True)
class PriorHeader(WeightsHeader):
    """A prior on its own."""

    KIND = PRIOR

    layers: PriorLayers
    normalized: bool = False  # contrast, in front of the first layer


@dataclass(frozen=True)
class ClassifierHeader(WeightsHeader):
    """One of the classifiers A to D; ContractError for images that are not square."""

    KIND = CLASSIFIER

    architecture: Annotated[str, one_of(*ARCHITECTURES, *SOURCE_ARCHITECTURES)]
    normalized: bool = False  # contrast, in front of the first layer

    def __post_init__(self) -> None:
        if self.contract.height != self.contract.width:
            raise ContractError(
                f"images of {self.contract.height}x{self.contract.width}: classifiers A to D take squares"
            )


@dataclass(frozen=True)
class ReformerHeader(WeightsHeader):
    """MagNet's reformer."""

    KIND = REFORMER


@dataclass(frozen=True)
class GeneratorHeader(WeightsHeader):
    """Defense-GAN's generator; ContractError for images that it does not make."""

    KIND = GENERATOR

    def __post_init__(self) -> None:
        _require_side(self.contract, "Defense-GAN's generator")


def require_shortlist(shortlist: int, classes: int) -> None:
    """Raises ContractError unless 2 <= shortlist <= classes."""
    if not MIN_SHORTLIST <= shortlist <= classes:
        raise ContractError(f"shortlist={shortlist}: expected {MIN_SHORTLIST} to {classes} classes (--shortlist)")


def _require_side(contract: ImageContract, network: str) -> None:
    if contract.height != contract.width or contract.height not in SIDES:
        raise ContractError(f"images of {contract.height}x{contract.width}: {network} takes squares of {SIDES} pixels")


Header = TypeVar("Header", bound=WeightsHeader)


def read_header(
    metadata: Mapping[str, str], kind: type[Header], where: str, remedy: str, error: type[PuvaeError] = BundleError
) -> tuple[Header, dict[str, Any]]:
    """The checked header in the metadata of a .safetensors file, and the whole document with its history.

    Raises:
        error: there is none, or it is damaged, of another version or of another kind of network.
    """
    document = read_document(metadata, where, remedy, error)
    return decode_header(document, kind, where, remedy, error), document


def read_document(
    metadata: Mapping[str, str],
    where: str,
    remedy: str,
    error: type[PuvaeError] = BundleError,
) -> dict[str, Any]:
    """The object under our key in the metadata of a .safetensors file, its keys unchecked: a curve may hold NaN."""
    if META_KEY not in metadata:
        raise error(f"{where}: no {META_KEY!r} metadata; {remedy}")
    document = parse(metadata[META_KEY], where, remedy, error, finite=False)
    if not isinstance(document, dict):
        raise error(f"{where}: {META_KEY}: got {shown(document)}, expected an object; {remedy}")
    return document


def decode_header(
    document: Any, kind: type[Header], where: str, remedy: str, error: type[PuvaeError] = BundleError
) -> Header:
    """The checked header; raises as `read_header`."""
    check_kind(document, kind.KIND, where, remedy, error)
    return decode(document, kind, where, remedy, error)


def check_kind(document: Any, kind: str, where: str, remedy: str, error: type[PuvaeError] = BundleError) -> None:
    """Refuses a document of another version or of another kind of network before its other fields are judged."""
    check_version(document, "format", FORMAT, where, remedy, error)
    got = document.get("kind") if isinstance(document, dict) else kind
    if got != kind:
        raise error(f"{where}: kind: got {shown(got)}, expected {kind}; {remedy}")
