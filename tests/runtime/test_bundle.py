from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from puvae_rt import Purifier
from puvae_rt.contract import CLASSIFIER_FILE, ENGINE_ONNX_FILE, MANIFEST_FILE
from puvae_rt.errors import BundleError, ContractError, PuvaeError, QualityError, UnknownModelError
from puvae_rt.files import sha256_of
from puvae_rt.runtime import assets
from puvae_rt.runtime import bundle as source
from tests.export.toy import random_weights, save_weights
from tests.runtime import toy

WEIGHTS = random_weights(toy.GRAY, classes=5)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An assets folder that ships a purifier drawn at random under the names "mnist" and "traffic_signs"."""
    for name in ("mnist", "traffic_signs"):
        folder = tmp_path / "assets" / name
        folder.mkdir(parents=True)
        save_weights(folder / assets.WEIGHTS_FILE, WEIGHTS, model=name, classes=list("abcde"))
        for classifier, answer in (("classifier_a", 1), ("classifier_b", 4)):
            toy.save_classifier(folder / f"{classifier}.onnx", answer=answer)
        document = {
            "format": assets.MODEL_FORMAT,
            "model": name,
            "classes": list("abcde"),
            "contract": {"channels": 1, "height": 28, "width": 28, "range": [0, 1]},
            "score": {"tau": 0.0, "kl_weight": 0.0},
            "default_classifier": "classifier_a",
            "sha256": {path.name: sha256_of(path) for path in folder.iterdir()},
        }
        (folder / assets.MODEL_FILE).write_text(json.dumps(document))
    monkeypatch.setattr(source, "shipped_names", lambda: assets.shipped_names(tmp_path / "assets"))
    monkeypatch.setattr(source, "shipped", lambda name: assets.shipped(name, tmp_path / "assets"))
    return tmp_path / "assets" / "mnist"


def test_a_shipped_model_loads_with_its_default_classifier(shipped: Path) -> None:
    with Purifier.load("mnist", threads=1) as purifier:
        assert (purifier.name, purifier.classes, purifier.contract) == ("mnist", tuple("abcde"), toy.GRAY)
        assert purifier((toy.templates()[2, 0] * 255).astype("uint8")).label == 1


def test_another_shipped_classifier_by_name(shipped: Path) -> None:
    with Purifier.load("mnist", threads=1, classifier="classifier_b") as purifier:
        assert purifier((toy.templates()[2, 0] * 255).astype("uint8")).label == 4
    with pytest.raises(BundleError, match="classifier_z"):
        Purifier.load("mnist", threads=1, classifier="classifier_z")


def test_a_shipped_name_wins_over_a_folder_of_that_name(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.save_bundle(tmp_path / "here" / "mnist", classifier=False)
    monkeypatch.chdir(tmp_path / "here")
    with Purifier.load("mnist", threads=1) as by_name, Purifier.load("./mnist", threads=1) as by_path:
        assert (by_name.name, by_path.name) == ("mnist", "toy")


@pytest.mark.parametrize(
    "name, closest",
    [("mnsit", "mnist"), ("MNIST", "mnist"), ("traffic-signs", "traffic_signs"), ("resnet50", ""), ("", "")],
)
def test_an_unknown_model_lists_the_known_ones(shipped: Path, name: str, closest: str) -> None:
    with pytest.raises(UnknownModelError, match="shipped: mnist, traffic_signs") as raised:
        Purifier.load(name)
    assert raised.match(f"did you mean '{closest}'" if closest else "a bundle's folder")


@pytest.mark.parametrize("file", [assets.WEIGHTS_FILE, "classifier_a.onnx"])
def test_a_shipped_file_that_was_changed_is_refused(shipped: Path, file: str) -> None:
    with (shipped / file).open("ab") as changed:
        changed.write(b"\0")
    with pytest.raises(BundleError, match=rf"{file}: was changed: its sha256 is .* expected .*; reinstall"):
        Purifier.load("mnist", threads=1)


def edit(**changes: object) -> Callable[[Path], None]:
    return lambda bundle: toy.edit_manifest(bundle, **changes)


def replace_engine(save: Callable[[Path], object]) -> Callable[[Path], None]:
    """Another engine whose hash the manifest knows: damage that only loading it shows."""

    def change(bundle: Path) -> None:
        save(bundle / ENGINE_ONNX_FILE)
        files = json.loads((bundle / MANIFEST_FILE).read_text())["files"]
        toy.edit_manifest(bundle, files={**files, ENGINE_ONNX_FILE: sha256_of(bundle / ENGINE_ONNX_FILE)})

    return change


def instead(file: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / file).unlink()
        make(bundle / file)

    return change


def moved_outside(path: Path) -> None:
    """The same bytes, behind a link that leaves the bundle."""
    outside = path.parent.with_name("outside")
    toy.save_bundle(outside)
    path.symlink_to(outside / path.name)


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


DAMAGES: dict[str, tuple[Callable[[Path], object], type[PuvaeError], str]] = {
    "no manifest": (lambda b: (b / MANIFEST_FILE).unlink(), BundleError, r"no manifest.json .*puvae build"),
    "manifest cut short": (lambda b: os.truncate(b / MANIFEST_FILE, 200), BundleError, "manifest"),
    "manifest of another schema": (edit(schema=99), BundleError, "schema"),
    "manifest without files": (edit(files={}), BundleError, "files"),
    "file outside the bundle": (edit(files={"../engine.onnx": "0" * 64}), BundleError, "name"),
    "no engine listed": (edit(files={CLASSIFIER_FILE: "0" * 64}), BundleError, "does not list engine.onnx"),
    "engine missing": (lambda b: (b / ENGINE_ONNX_FILE).unlink(), BundleError, "engine.onnx"),
    "engine cut short": (lambda b: os.truncate(b / ENGINE_ONNX_FILE, 1000), BundleError, "engine.onnx.*sha256"),
    "classifier changed": (lambda b: os.truncate(b / CLASSIFIER_FILE, 1000), BundleError, "classifier.onnx.*sha256"),
    "engine is a FIFO": (instead(ENGINE_ONNX_FILE, os.mkfifo), BundleError, "engine.onnx: is a FIFO, expected a reg"),
    "classifier is a FIFO": (instead(CLASSIFIER_FILE, os.mkfifo), BundleError, "classifier.onnx: is a FIFO"),
    "manifest is a FIFO": (instead(MANIFEST_FILE, os.mkfifo), BundleError, "manifest.json"),
    "engine is a device": (
        instead(ENGINE_ONNX_FILE, lambda p: p.symlink_to("/dev/zero")),
        BundleError,
        "engine.onnx: leads to /dev/zero, expected a file inside",
    ),
    "engine is a folder": (instead(ENGINE_ONNX_FILE, Path.mkdir), BundleError, "engine.onnx: is a folder"),
    "engine is huge and sparse": (instead(ENGINE_ONNX_FILE, sparse), BundleError, "engine.onnx: has 10737418240 bytes"),
    "engine of another size": (
        edit(sizes={ENGINE_ONNX_FILE: 3}),
        BundleError,
        "engine.onnx: has .* expected 3;",
    ),
    "sizes are no numbers": (edit(sizes={ENGINE_ONNX_FILE: "3"}), BundleError, "sizes"),
    "manifest is outside": (instead(MANIFEST_FILE, moved_outside), BundleError, "manifest.json: leads to .*outside"),
    "engine is outside": (instead(ENGINE_ONNX_FILE, moved_outside), BundleError, "engine.onnx: leads to .*outside"),
    "engine is no ONNX": (
        replace_engine(lambda p: p.write_bytes(b"no model" * 9)),
        BundleError,
        "ONNX Runtime refuses",
    ),
    "engine is empty": (replace_engine(lambda p: p.write_bytes(b"")), BundleError, "ONNX Runtime refuses"),
    "engine of other images": (replace_engine(lambda p: toy.save_purifier(p, toy.COLOR)), BundleError, "inputs are"),
    "engine is a classifier": (replace_engine(toy.save_classifier), BundleError, "outputs are"),
    "other classes than the engine": (edit(classes=["a", "b"]), BundleError, "outputs are"),
    "failed its quality gate": (
        lambda b: toy.edit_manifest(
            b, quality={**json.loads((b / MANIFEST_FILE).read_text())["quality"], "passed": False}
        ),
        QualityError,
        "quality gate",
    ),
}


@pytest.mark.parametrize("damage, error, message", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_bundle_is_refused_with_the_reason(
    bundle: Path, damage: Callable[[Path], object], error: type[PuvaeError], message: str
) -> None:
    damage(bundle)
    with pytest.raises(error, match=message):
        Purifier.load(bundle, threads=1)


def test_a_bundle_for_another_target_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"built for target 'cpu', asked to run on 'rtx'; .*--target rtx"):
        Purifier.load(bundle, target="rtx")


def test_an_unknown_target(bundle: Path) -> None:
    with pytest.raises(ContractError, match=r"target: got 'gpu', expected one of cpu, native, rtx, tensorrt"):
        Purifier.load(bundle, target="gpu")


@pytest.mark.parametrize("path", ["out/nothing", "./mnist", Path("nothing")], ids=str)
def test_a_path_without_a_bundle(path: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"no manifest.json"):
        Purifier.load(path)


def test_a_classifier_file_that_is_absent(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"classifier 'none.onnx': no such file"):
        Purifier.load(bundle, classifier="none.onnx")


def test_a_classifier_of_other_classes(bundle: Path, tmp_path: Path) -> None:
    toy.save_purifier(tmp_path / "other.onnx")
    with pytest.raises(BundleError, match="outputs are"):
        Purifier.load(bundle, classifier=tmp_path / "other.onnx")
