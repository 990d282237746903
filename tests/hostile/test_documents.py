"""Damaged documents: each is read as a valid one, or refused with the reader's typed error; nothing else comes out.

PUVAE_HOSTILE is the number of damages per document (default: 60).
"""

from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from puvae_rt.contract import MANIFEST_FILE
from puvae_rt.errors import BundleError, CheckpointError, DataError
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.schema import seal
from tests.hostile.documents import DOCUMENTS, GRAY, HEADER, MANIFEST, SHA, Document
from tests.hostile.mutations import mutated

CASES = int(os.environ.get("PUVAE_HOSTILE", "60"))
LONGEST = 1000  # characters of a message besides the path


@pytest.mark.parametrize("kind", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_the_undamaged_document_is_read(tmp_path: Path, kind: Document) -> None:
    path = tmp_path / kind.file
    path.write_text(json.dumps(kind.document))
    assert kind.read(path) is not None


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_damaged_document_is_read_or_refused(tmp_path: Path, name: str) -> None:
    kind = DOCUMENTS[name]
    outcomes = {"read": 0, "refused": 0}
    for case in range(CASES):
        path = tmp_path / kind.file
        data = mutated(kind.document, random.Random(f"{name} {case}"))
        path.write_bytes(data)
        outcomes[outcome(kind, path, f"{name} {case}: {data[:200]!r}")] += 1
    assert outcomes["refused"] > CASES // 4, outcomes


def outcome(kind: Document, path: Path, case: str) -> str:
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
    kind = DOCUMENTS["manifest"]
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
    kind = Document({}, load_reformer, CheckpointError)
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
    kind = Document(document, read_finished, DataError)
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
