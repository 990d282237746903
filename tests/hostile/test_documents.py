"""Damaged documents: each is read as a valid one, or refused with the reader's typed error; nothing else comes out.

PUVAE_HOSTILE is the number of damages per document (default: 60).
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from puvae_rt.bench.results import Bench, Result, read_bench
from puvae_rt.contract import MANIFEST_FILE, ImageContract, Score
from puvae_rt.errors import (
    BenchmarkError,
    BuildError,
    BundleError,
    CheckpointError,
    DataError,
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
from puvae_rt.schema import seal
from puvae_rt.video.truth import read_truth
from tests.hostile.mutations import mutated

CASES = int(os.environ.get("PUVAE_HOSTILE", "60"))
LONGEST = 1000  # characters of a message besides the path

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


class Kind(NamedTuple):
    """A document, how it is read out of a file, and with what it is refused."""

    document: dict[str, Any]
    read: Callable[[Path], object]
    error: type[PuvaeError]
    file: str = "document.json"


def header_reader(kind: type[WeightsHeader]) -> Callable[[Path], object]:
    return lambda path: read_header({"puvae": text(path)}, kind, str(path), "train again", CheckpointError)


def text(path: Path) -> str:
    """Metadata are text already when we see them."""
    return path.read_bytes().decode("utf-8", "replace")


KINDS = {
    "manifest": Kind(MANIFEST, lambda path: Manifest.read(path.parent), BundleError, MANIFEST_FILE),
    "model.json": Kind(MODEL, lambda path: read_model(path.parent), BundleError, MODEL_FILE),
    "description": Kind(
        PUVAE | {"kind": "puvae", "sigma": 0.0, "passes": []},
        lambda path: Description.from_metadata({"puvae": text(path)}, str(path)),
        BuildError,
    ),
    "puvae": Kind(PUVAE | {"kind": "puvae", "ranks": {"fc1": 8}}, header_reader(PuvaeHeader), CheckpointError),
    "classifier": Kind(
        HEADER | {"kind": "classifier", "architecture": "A", "normalized": True},
        header_reader(ClassifierHeader),
        CheckpointError,
    ),
    "reformer": Kind(HEADER | {"kind": "reformer"}, header_reader(ReformerHeader), CheckpointError),
    "generator": Kind(HEADER | {"kind": "generator"}, header_reader(GeneratorHeader), CheckpointError),
    "bench": Kind(BENCH, read_bench, BenchmarkError),
    "truth": Kind(TRUTH, read_truth, VideoError),
    "defense": Kind({"results": [CELL | ACCURACY | WHERE] * 2}, read_rows, ResultsError, DEFENSE_FILE),
    "sigma": Kind(
        {"results": [CELL | ACCURACY | WHERE | {"sigma_eps": 0.1, "pictures": "all"}]},
        read_rows,
        ResultsError,
        SIGMA_FILE,
    ),
    "timing": Kind({"results": [TIMING | WHERE]}, read_rows, ResultsError, TIMING_FILE),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_the_undamaged_document_is_read(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / kind.file
    path.write_text(json.dumps(kind.document))
    assert kind.read(path) is not None


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_document_is_read_or_refused(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    outcomes = {"read": 0, "refused": 0}
    for case in range(CASES):
        path = tmp_path / kind.file
        data = mutated(kind.document, random.Random(f"{name} {case}"))
        path.write_bytes(data)
        outcomes[outcome(kind, path, f"{name} {case}: {data[:200]!r}")] += 1
    assert outcomes["refused"] > CASES // 4, outcomes


def outcome(kind: Kind, path: Path, case: str) -> str:
    try:
        kind.read(path)
    except kind.error as error:
        message = str(error)
        assert str(path) in message and len(message) < LONGEST + 3 * len(str(path)), case
        assert message.isprintable(), case
        message.encode("utf-8")
        return "refused"
    except Exception as error:
        pytest.fail(f"{case}: {type(error).__name__}: {error}")
    return "read"


def test_a_damaged_manifest_that_is_sealed_anew_is_read_or_refused(tmp_path: Path) -> None:
    kind = KINDS["manifest"]
    for case in range(CASES):
        data = mutated(kind.document, random.Random(f"sealed {case}"))
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            path = tmp_path / kind.file
            path.write_text(json.dumps(seal(document)))
            outcome(kind, path, f"sealed {case}: {data[:200]!r}")


def test_one_damage_to_a_sealed_manifest_is_noticed_whatever_it_is(tmp_path: Path) -> None:
    """The seal covers what no other check can tell from a sound value."""
    sealed = seal(json.loads(json.dumps(MANIFEST)))
    for change in (("engine", "evidence", "guessed"), ("options", "verify", False), ("options", "batch", [1, 9])):
        document = copy.deepcopy(sealed)
        document[change[0]][change[1]] = change[2]
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(document))
        with pytest.raises(BundleError, match="changed after it was written"):
            Manifest.read(tmp_path)


def test_damaged_weights_are_read_or_refused_in_training_too(tmp_path: Path) -> None:
    """The smallest network there is: the damages go through the whole file, header, shapes and numbers."""
    from puvae_rt.models.magnet import reformer
    from puvae_rt.training.artefacts import load_reformer

    tensors = {name: value.numpy() for name, value in reformer(GRAY).state_dict().items()}
    path = tmp_path / "w.safetensors"
    save_file(tensors, path, {"puvae": json.dumps(HEADER | {"kind": "reformer"})})
    assert load_reformer(path)
    sound = path.read_bytes()
    kind = Kind({}, load_reformer, CheckpointError)
    for case in range(CASES):
        draw = random.Random(f"weights {case}")
        if case % 2:
            data = bytearray(sound)
            for _ in range(draw.randint(1, 4)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            path.write_bytes(data[: draw.randrange(len(data))] if case % 5 == 0 else data)
        else:
            changed = {n: v for n, v in tensors.items() if draw.random() > 0.05}
            name = draw.choice(sorted(changed))
            changed[name] = draw.choice(
                (np.full_like(changed[name], np.nan), changed[name][:-1], changed[name].astype(int))
            )
            save_file({n: np.ascontiguousarray(v) for n, v in changed.items()}, path, {"puvae": json.dumps(HEADER)})
        outcome(kind, path, f"weights {case}")


def test_rows_of_a_search_are_read_or_refused(tmp_path: Path) -> None:
    from puvae_rt.training.search import read_finished

    path = tmp_path / "search.json"
    document = {"split": "validation", "results": [{"trial": "paper", "accuracy": {"rmse": {"clean": 0.5}}}]}
    np.savez(path.with_suffix(".npz"), paper=np.zeros((1, 1, 2, 2), np.uint8))
    kind = Kind(document, read_finished, DataError)
    for case in range(CASES):
        path.write_bytes(mutated(document, random.Random(f"search {case}")))
        outcome(kind, path, f"search {case}")


def test_a_damaged_identity_of_a_cache_slot_is_taken_or_a_reason_to_build_anew(tmp_path: Path) -> None:
    from puvae_rt.runtime.cache import IDENTITY_FILE, mismatch

    identity = {"model": "toy", "processors": 2}
    document = {"identity": identity, "files": {"engine.bin": SHA}}
    for case in range(CASES):
        data = mutated(document, random.Random(f"identity {case}"))
        (tmp_path / IDENTITY_FILE).write_bytes(data)
        reason = mismatch(tmp_path, identity)
        if reason is None:  # only without the file that it names, which is not there
            assert json.loads(data)["files"] == {}, f"identity {case}: {data[:200]!r}"
        else:
            assert reason.isprintable() and len(reason) < LONGEST, f"identity {case}: {data[:200]!r}"
