"""The manifest of a bundle: its complete identity, read back with every type and size checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from puvae_rt.contract import MANIFEST_FILE, SCHEMA, ImageContract, Score
from puvae_rt.errors import BundleError
from puvae_rt.files import difference
from puvae_rt.runtime.fields import Fields, read_classes, read_contract, read_score

TARGETS = ("cpu", "rtx", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")
MAX_MANIFEST_BYTES = 8 << 20
MAX_COST = 1 << 50  # of a layer: multiply-adds or bytes


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the engine; -1 in `shape` is the batch."""

    name: str
    dtype: str  # numpy's name: float32, float16, int64
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of the engine as its compiler lists it, after fusion."""

    name: str
    type: str
    precision: str  # as computed, not as asked: fp32, fp16, int8, ...
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    # Of one image, where the compiler lists the sides of every tensor; 0 where it does not.
    macs: int = 0  # multiply-adds
    tensor_bytes: int = 0  # read and written; grows with the batch
    weight_bytes: int = 0  # read; the same for any batch


@dataclass(frozen=True)
class Engine:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    kernels_per_frame: int  # layers that launch work
    weight_bytes: int
    build_seconds: float
    evidence: str  # how `layers` is known: "built by TensorRT-RTX", ...


@dataclass(frozen=True)
class Quality:
    """The gate's report; keys of `reference` and `built` are "<measure>/<image set>": "accuracy/clean"."""

    reference: Mapping[str, float]
    built: Mapping[str, float]
    limits: Mapping[str, float]
    passed: bool
    failures: tuple[str, ...]  # one sentence per limit broken
    images: int  # per image set
    samples_sha256: str
    evidence: str  # "measured", or "emulated" where the engine cannot run on the building machine


@dataclass(frozen=True)
class Options:
    batch: tuple[int, ...]  # sizes the engine is optimised for; any size between them is accepted
    compute_capabilities: tuple[str, ...]  # "8.6", ...; empty on a CPU
    verify: bool  # False: the gate was switched off by the user


@dataclass(frozen=True)
class Manifest:
    model: str
    classes: tuple[str, ...]
    contract: ImageContract
    score: Score
    target: str
    precision: str
    passes: tuple[str, ...]
    sigma: float
    files: Mapping[str, str]  # name -> sha256
    source_sha256: str
    tools: Mapping[str, str]  # name -> version
    engine: Engine
    options: Options
    quality: Quality | None  # None: not verified
    schema: int = field(default=SCHEMA)

    @staticmethod
    def read(bundle_dir: Path | str) -> Manifest:
        """The manifest of a bundle; BundleError when absent, damaged, or of another schema."""
        path = Path(bundle_dir) / MANIFEST_FILE
        try:
            if path.stat().st_size > MAX_MANIFEST_BYTES:
                raise BundleError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes; rebuild the bundle")
            document = json.loads(path.read_text("utf-8"), parse_constant=_refuse_constant)
        except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
            raise BundleError(
                f"{path}: no readable manifest ({error}); give a bundle that export.build wrote"
            ) from error
        return parse_manifest(document, str(path))

    def write(self, bundle_dir: Path | str) -> None:
        document = asdict(self)
        document["contract"]["range"] = [0, 1]
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
        (Path(bundle_dir) / MANIFEST_FILE).write_text(text + "\n", "utf-8")

    def verify_files(self, bundle_dir: Path | str) -> None:
        """Checks every file that the manifest names.

        Raises:
            BundleError: one is missing, is no regular file inside the folder, or differs from its recorded sha256.
        """
        for name, expected in self.files.items():
            path = Path(bundle_dir) / name
            if (problem := difference(path, expected, within=bundle_dir)) is not None:
                raise BundleError(f"{path}: {problem}; rebuild the bundle")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_manifest(document: Any, where: str) -> Manifest:
    """A checked Manifest out of parsed JSON; `where` goes into the errors."""
    fields = Fields(document, where)
    schema = fields.integer("schema")
    if schema != SCHEMA:
        raise BundleError(f"{where}: schema {schema}, this version reads {SCHEMA}; rebuild the bundle")
    return Manifest(
        model=fields.name("model"),
        classes=read_classes(fields),
        contract=read_contract(fields.child("contract")),
        score=read_score(fields.child("score")),
        target=fields.text("target", TARGETS),
        precision=fields.text("precision", PRECISIONS),
        passes=fields.texts("passes"),
        sigma=fields.number("sigma"),
        files=fields.child("files").hashes(),
        source_sha256=fields.sha256("source_sha256"),
        tools=fields.child("tools").versions(),
        engine=_engine(fields.child("engine")),
        options=_options(fields.child("options")),
        quality=None if document.get("quality") is None else _quality(fields.child("quality")),
    )


def _engine(fields: Fields) -> Engine:
    return Engine(
        inputs=tuple(map(_tensor, fields.children("inputs"))),
        outputs=tuple(map(_tensor, fields.children("outputs"))),
        layers=tuple(map(_layer, fields.children("layers"))),
        kernels_per_frame=fields.integer("kernels_per_frame"),
        weight_bytes=fields.integer("weight_bytes"),
        build_seconds=fields.number("build_seconds"),
        evidence=fields.text("evidence"),
    )


def _tensor(fields: Fields) -> TensorSpec:
    return TensorSpec(fields.text("name"), fields.text("dtype"), fields.integers("shape", -1))


def _layer(fields: Fields) -> Layer:
    return Layer(
        name=fields.text("name"),
        type=fields.text("type"),
        precision=fields.text("precision"),
        inputs=fields.texts("inputs"),
        outputs=fields.texts("outputs"),
        macs=fields.optional_integer("macs", 0, MAX_COST) or 0,
        tensor_bytes=fields.optional_integer("tensor_bytes", 0, MAX_COST) or 0,
        weight_bytes=fields.optional_integer("weight_bytes", 0, MAX_COST) or 0,
    )


def _options(fields: Fields) -> Options:
    batch = fields.integers("batch", 1)
    if not batch:
        raise BundleError("options: batch: got an empty list, expected at least one size; rebuild the bundle")
    return Options(batch, fields.texts("compute_capabilities"), fields.flag("verify"))


def _quality(fields: Fields) -> Quality:
    return Quality(
        reference=fields.child("reference").numbers(),
        built=fields.child("built").numbers(),
        limits=fields.child("limits").numbers(),
        passed=fields.flag("passed"),
        failures=fields.texts("failures"),
        images=fields.integer("images"),
        samples_sha256=fields.sha256("samples_sha256"),
        evidence=fields.text("evidence"),
    )
