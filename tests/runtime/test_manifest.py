"""Manifests: what is written comes back, and what was changed since is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from export.settings import BuildSettings
from puvae_rt.contract import MANIFEST_FILE, MAX_BATCH
from puvae_rt.errors import BundleError, ContractError
from puvae_rt.runtime.manifest import Manifest
from tests.runtime import toy


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return toy.save_bundle(tmp_path / "bundle", classifier=False)


def document(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / MANIFEST_FILE).read_text())
    return found


def write(bundle: Path, document: dict[str, Any]) -> None:
    (bundle / MANIFEST_FILE).write_text(json.dumps(document))


def test_a_manifest_comes_back_as_it_was_written(bundle: Path) -> None:
    manifest = Manifest.read(bundle)
    manifest.write(bundle)
    assert Manifest.read(bundle) == manifest
    assert document(bundle)["contract"]["range"] == [0, 1]


@pytest.mark.parametrize("sizes", [[1, MAX_BATCH + 1], [1_000_000], [0], [-1], [1.0], ["1"], [True], [], 8])
def test_a_batch_that_no_build_takes_is_refused(bundle: Path, sizes: object) -> None:
    """The buffers and bindings for it would be made: gigabytes for a number in a file."""
    toy.edit_manifest(bundle, options=document(bundle)["options"] | {"batch": sizes})
    with pytest.raises(BundleError, match=r"manifest.json: options.batch.* expected .*; rebuild the bundle"):
        Manifest.read(bundle)


def test_builds_and_manifests_have_one_largest_batch(bundle: Path) -> None:
    assert BuildSettings("mnist", bundle, batch=(1, MAX_BATCH)).batch == (1, MAX_BATCH)
    with pytest.raises(ContractError, match=f"expected sizes from 1 to {MAX_BATCH}"):
        BuildSettings("mnist", bundle, batch=(1, MAX_BATCH + 1))
    toy.edit_manifest(bundle, options=document(bundle)["options"] | {"batch": [1, MAX_BATCH]})
    assert Manifest.read(bundle).options.batch == (1, MAX_BATCH)


CHANGES = {
    "batch": ("options", "batch", [1, 9]),
    "capabilities": ("options", "compute_capabilities", ["9.0"]),
    "gate": ("options", "verify", False),
    "evidence": ("engine", "evidence", "another"),
    "score": ("score", "tau", 0.5),
    "unknown-key": ("options", "new", 1),
}


@pytest.mark.parametrize("part, key, value", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_that_no_type_shows_is_noticed(bundle: Path, part: str, key: str, value: object) -> None:
    changed = document(bundle)
    changed[part][key] = value
    write(bundle, changed)
    with pytest.raises(BundleError, match=r"manifest.json: changed after it was written: .*; rebuild the bundle"):
        Manifest.read(bundle)


def test_a_bundle_from_before_manifests_were_sealed_is_read(bundle: Path) -> None:
    manifest = Manifest.read(bundle)
    old = document(bundle)
    del old["sha256"]
    write(bundle, old)
    assert Manifest.read(bundle) == manifest


@pytest.mark.parametrize("name", ["a\0b", "../engine.onnx", "x" * 300, "", ".", "a/b", "a\\b"], ids=ascii)
def test_a_name_that_no_file_can_have_is_refused(bundle: Path, name: str) -> None:
    toy.edit_manifest(bundle, files={name: "0" * 64})
    with pytest.raises(BundleError, match=r"manifest.json: files: name: got .*, expected a plain file name"):
        Manifest.read(bundle)


def test_a_lone_surrogate_is_refused_wherever_it_stands(bundle: Path) -> None:
    for change in ({"files": {"\ud800": "0" * 64}}, {"classes": ["a", "\udfff"]}, {"tools": {"\ud800": "1"}}):
        toy.edit_manifest(bundle, **change)
        with pytest.raises(BundleError, match=r"manifest.json: not readable as JSON .*surrogates"):
            Manifest.read(bundle)


def test_a_shortlist_is_at_most_all_classes_and_older_manifests_have_none(bundle: Path) -> None:
    document = json.loads((bundle / "manifest.json").read_text())
    del document["shortlist"], document["sha256"]
    (bundle / "manifest.json").write_text(json.dumps(document))
    assert Manifest.read(bundle).shortlist is None
    toy.edit_manifest(bundle, shortlist=toy.CLASSES)
    assert Manifest.read(bundle).shortlist == toy.CLASSES
    for wrong, message in (
        (toy.CLASSES + 1, r"shortlist=6: expected 2 to 5 classes"),
        (1, r"shortlist: got 1, expected an integer from 2"),
        ("2", r"shortlist: got '2', expected an integer"),
    ):
        toy.edit_manifest(bundle, shortlist=wrong)
        with pytest.raises(BundleError, match=message):
            Manifest.read(bundle)
