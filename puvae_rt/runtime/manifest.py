"""The manifest of a bundle: its complete identity, read back with every type and size checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from puvae_rt.contract import MANIFEST_FILE, MAX_BATCH, SCHEMA, ImageContract, Score
from puvae_rt.errors import BundleError
from puvae_rt.files import difference, write_json
from puvae_rt.models.header import Shortlist, require_shortlist
from puvae_rt.schema import (
    Classes,
    Count,
    FileHashes,
    Finite,
    Name,
    NonNegative,
    PlainFileName,
    Sha256,
    Text,
    Texts,
    check_seal,
    check_version,
    decode,
    integer,
    one_of,
    read_json,
    seal,
)

TARGETS = ("cpu", "native", "rtx", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")
MAX_MANIFEST_BYTES = 8 << 20
MAX_COST = 1 << 50  # of a layer: multiply-adds or bytes
_REMEDY = "rebuild the bundle"
_READ_REMEDY = "rebuild the bundle, or give one that `puvae build` wrote"

Side = Annotated[int, integer(-1)]
Cost = Annotated[int, integer(0, MAX_COST)]
BatchSize = Annotated[int, integer(1, MAX_BATCH)]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the engine; -1 in `shape` is the batch."""

    name: Text
    dtype: Text  # numpy's name: float32, float16, int64
    shape: tuple[Side, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of the engine as its compiler lists it, after fusion."""

    name: Text
    type: Text
    precision: Text  # as computed, not as asked: fp32, fp16, int8, ...
    inputs: Texts
    outputs: Texts
    # Of one image, where the compiler lists the sides of every tensor; 0 where it does not.
    macs: Cost = 0  # multiply-adds
    tensor_bytes: Cost = 0  # read and written; grows with the batch
    weight_bytes: Cost = 0  # read; the same for any batch


@dataclass(frozen=True)
class Engine:
    """What the compiler made: tensors, layers, and what a frame costs."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    kernels_per_frame: Count  # layers that launch work
    weight_bytes: Count
    build_seconds: NonNegative
    evidence: Text  # how `layers` is known: "built by TensorRT-RTX", ...


@dataclass(frozen=True)
class Quality:
    """The gate's report; keys of `reference` and `built` are "<measure>/<image set>": "accuracy/clean"."""

    reference: Mapping[Text, Finite]
    built: Mapping[Text, Finite]
    limits: Mapping[Text, Finite]
    passed: bool
    failures: Texts  # one sentence per limit broken
    images: Count  # per image set
    samples_sha256: Sha256
    evidence: Text  # "measured", or "emulated" where the engine cannot run on the building machine


@dataclass(frozen=True)
class Options:
    """How the engine was asked to be built."""

    # Sizes the engine is optimised for; any size between them is accepted.
    batch: Annotated[tuple[BatchSize, ...], Meta(min_length=1, description="a list of at least one size")]
    compute_capabilities: Texts  # "8.6", ...; empty on a CPU
    verify: bool  # False: the gate was switched off by the user


@dataclass(frozen=True)
class Manifest:
    """The complete identity of a bundle, and its quality report; ContractError for a shortlist of too many classes."""

    model: Name
    classes: Classes
    contract: ImageContract
    score: Score
    target: Annotated[str, one_of(*TARGETS)]
    precision: Annotated[str, one_of(*PRECISIONS)]
    passes: Texts
    sigma: NonNegative
    files: FileHashes
    source_sha256: Sha256
    tools: Mapping[Text, Text]  # name -> version
    engine: Engine
    options: Options
    quality: Quality | None = None  # None: not verified
    schema: int = SCHEMA
    sizes: Mapping[PlainFileName, Count] = field(default_factory=dict)  # of `files` in bytes; empty in older bundles
    shortlist: Shortlist | None = None  # how many classes the engine decodes, those that a prior ranks first; None: all

    def __post_init__(self) -> None:
        if self.shortlist is not None:
            require_shortlist(self.shortlist, len(self.classes))

    @staticmethod
    def read(bundle_dir: Path | str) -> Manifest:
        """The manifest of a bundle; BundleError when absent, damaged, or of another schema."""
        path = Path(bundle_dir) / MANIFEST_FILE
        return parse_manifest(read_json(path, MAX_MANIFEST_BYTES, _READ_REMEDY, within=bundle_dir), str(path))

    def write(self, bundle_dir: Path | str) -> None:
        """Writes it, sealed: with a sha256 of all that it says."""
        write_json(Path(bundle_dir) / MANIFEST_FILE, seal(asdict(self)), sort_keys=True)

    def verify_files(self, bundle_dir: Path | str) -> None:
        """Checks every file that the manifest names.

        Raises:
            BundleError: one is missing, is no regular file inside the folder, or differs from its recorded size or
                sha256.
        """
        for name, expected in self.files.items():
            path = Path(bundle_dir) / name
            if (problem := difference(path, expected, self.sizes.get(name), within=bundle_dir)) is not None:
                raise BundleError(f"{path}: {problem}; rebuild the bundle")


def parse_manifest(document: Any, where: str) -> Manifest:
    """A checked Manifest out of parsed JSON; `where` goes into the errors."""
    check_version(document, "schema", SCHEMA, where, _REMEDY)
    manifest = decode(document, Manifest, where, _REMEDY)
    check_seal(document, where, _REMEDY)
    return manifest
