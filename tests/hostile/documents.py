"""Every JSON document that is read, with the reader of each and its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from puvae_rt.bench.results import Bench, Result, read_bench
from puvae_rt.contract import MANIFEST_FILE, ImageContract, Score
from puvae_rt.errors import (
    BenchmarkError,
    BuildError,
    BundleError,
    CheckpointError,
    PuvaeError,
    ResultsError,
    VideoError,
)
from puvae_rt.evaluation.results import DEFENSE_FILE, SIGMA_FILE, TIMING_FILE, read_rows
from puvae_rt.graph.description import Description
from puvae_rt.models.header import (
    ClassifierHeader,
    GeneratorHeader,
    PuvaeHeader,
    ReformerHeader,
    WeightsHeader,
    read_header,
)
from puvae_rt.runtime.assets import MODEL_FILE, read_model
from puvae_rt.runtime.manifest import Engine, Layer, Manifest, Options, Quality, TensorSpec
from puvae_rt.video.truth import read_truth

GRAY = ImageContract(1, 28, 28)
SHA = "0" * 64
MANIFEST = asdict(
    Manifest(
        model="toy",
        classes=("a", "b"),
        contract=GRAY,
        score=Score(0.1, 0.3),
        target="cpu",
        precision="fp32",
        passes=("hoist",),
        sigma=0.0,
        files={"engine.onnx": SHA, "classifier.onnx": SHA},
        source_sha256=SHA,
        tools={"onnx": "1.18"},
        engine=Engine(
            (TensorSpec("image", "float32", (-1, 1, 28, 28)),),
            (TensorSpec("label", "int64", (-1,)),),
            (Layer("conv", "Conv", "fp32", ("image",), ("label",), 5, 6, 7),),
            1,
            4,
            0.5,
            "measured",
        ),
        options=Options((1, 8), ("8.6",), True),
        quality=Quality({"accuracy/clean": 0.9}, {"accuracy/clean": 0.9}, {"x": 1.0}, True, (), 10, SHA, "measured"),
    )
)
HEADER = {"format": 1, "model": "toy", "classes": ["a", "b"], "contract": asdict(GRAY), "schedule": {"epochs": 1}}
PUVAE = HEADER | {"score": {"tau": 0.1, "kl_weight": 0.3}}
MODEL = PUVAE | {"default_classifier": "classifier_a", "sha256": {"puvae.onnx": SHA}}
CELL = {"dataset": "mnist", "classifier": "A", "attack": "fgsm", "targeted": True, "epsilon": 0.3, "defense": "none"}
ACCURACY = {"n": 10, "accuracy": 0.9, "ci_low": 0.8, "ci_high": 1.0}
WHERE = {"seed": 0, "seconds": 1.5, "machine": "a processor", "commit": "abc", "evidence": "measured"}
TIMING = {"dataset": "mnist", "defense": "puvae_ours", "batch": 1, "repeats": 3}
RESULT = Result("mnist", "cpu", "fp32", ("hoist",), 1, 1.0, 1.0, 2.0, 3.0, 900.0, 100.0, "measured", 10, 0.5)
MACHINE = {"cpu": "a processor", "flags": "abc", "processors": 2, "system": "Linux x86_64"}
BENCH = Bench(MACHINE, 1, (RESULT, RESULT)).document({"seconds": 5})
TRUTH = {"ground_truth": [{"label": 3, "box": [1, 2, 3, 4]}, {"label": None, "box": None}]}


class Document(NamedTuple):
    """A document, how it is read out of a file, and with what it is refused."""

    document: dict[str, Any]
    read: Callable[[Path], object]
    error: type[PuvaeError]
    file: str = "document.json"
    in_a_file: bool = True  # otherwise it is metadata of another file


def _header(document: dict[str, Any], kind: type[WeightsHeader]) -> Document:
    def read(path: Path) -> object:
        return read_header({"puvae": text(path)}, kind, str(path), "train again", CheckpointError)

    return Document(document, read, CheckpointError, in_a_file=False)


def text(path: Path) -> str:
    """Metadata are text already when we see them."""
    return path.read_bytes().decode("utf-8", "replace")


DOCUMENTS = {
    "manifest": Document(MANIFEST, lambda path: Manifest.read(path.parent), BundleError, MANIFEST_FILE),
    "model.json": Document(MODEL, lambda path: read_model(path.parent), BundleError, MODEL_FILE),
    "description": Document(
        PUVAE | {"kind": "puvae", "sigma": 0.0, "passes": []},
        lambda path: Description.from_metadata({"puvae": text(path)}, str(path)),
        BuildError,
        in_a_file=False,
    ),
    "puvae": _header(PUVAE | {"kind": "puvae", "ranks": {"fc1": 8}}, PuvaeHeader),
    "classifier": _header(HEADER | {"kind": "classifier", "architecture": "A", "normalized": True}, ClassifierHeader),
    "reformer": _header(HEADER | {"kind": "reformer"}, ReformerHeader),
    "generator": _header(HEADER | {"kind": "generator"}, GeneratorHeader),
    "bench": Document(BENCH, read_bench, BenchmarkError),
    "truth": Document(TRUTH, read_truth, VideoError),
    "defense": Document({"results": [CELL | ACCURACY | WHERE] * 2}, read_rows, ResultsError, DEFENSE_FILE),
    "sigma": Document(
        {"results": [CELL | ACCURACY | WHERE | {"sigma_eps": 0.1, "pictures": "all"}]},
        read_rows,
        ResultsError,
        SIGMA_FILE,
    ),
    "timing": Document({"results": [TIMING | WHERE]}, read_rows, ResultsError, TIMING_FILE),
}
