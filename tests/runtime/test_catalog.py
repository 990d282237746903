"""What `puvae models` and `puvae_rt.shipped_models()` tell of the models that ship."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import puvae_rt
from puvae_rt import Purifier
from puvae_rt.cli.main import main
from puvae_rt.errors import BundleError
from puvae_rt.evaluation.shipped import accuracies
from puvae_rt.runtime import catalog
from puvae_rt.runtime.assets import ASSETS, shipped_names
from puvae_rt.runtime.catalog import ACCURACY_FILE, shipped_models

RESULTS = Path(__file__).parents[2] / "results"


def test_every_model_is_told_with_its_accuracy() -> None:
    cards = {card.name: card for card in puvae_rt.shipped_models()}
    assert tuple(cards) == shipped_names()
    mnist = cards["mnist"]
    assert mnist.shape == (1, 28, 28) and len(mnist.classes) == 10 and mnist.classifiers[0] == "classifier_a"
    assert mnist.bytes == sum(path.stat().st_size for path in (ASSETS / "mnist").iterdir() if path.name != "model.json")
    assert mnist.attacked == min(share for name, share in mnist.purified.items() if name != "clean") > 0.7
    assert not any(card.experimental for card in cards.values())


def test_the_stored_accuracy_is_that_of_the_results() -> None:
    stored = json.loads((ASSETS / ACCURACY_FILE).read_text())
    assert stored == accuracies(RESULTS), "run: puvae keep-accuracy"


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    """MNIST's description and accuracy, without its files' content."""
    (tmp_path / "mnist").mkdir()
    shutil.copy(ASSETS / "mnist/model.json", tmp_path / "mnist")
    for name in json.loads((ASSETS / "mnist/model.json").read_text())["sha256"]:
        (tmp_path / "mnist" / name).touch()
    shutil.copy(ASSETS / ACCURACY_FILE, tmp_path)
    return tmp_path


def edited(assets: Path, **changes: object) -> None:
    document = json.loads((assets / ACCURACY_FILE).read_text())
    document["models"]["mnist"] |= changes
    (assets / ACCURACY_FILE).write_text(json.dumps(document))


def test_what_was_measured_of_other_files_is_not_told(assets: Path) -> None:
    edited(assets, weights="0" * 16)
    (card,) = shipped_models(assets)
    assert (card.attacked, card.images, card.purified) == (None, 0, {}) and card.experimental


@pytest.mark.parametrize(
    ("purified", "experimental"),
    [
        ({"clean": 0.9, "fgsm": 0.5}, False),
        ({"clean": 0.7, "fgsm": 0.5}, True),  # too much lost without an attack
        ({"clean": 0.9, "fgsm": 0.3}, True),  # too little left under one
    ],
)
def test_what_is_experimental(assets: Path, purified: dict[str, float], experimental: bool) -> None:
    edited(assets, undefended={"clean": 0.95, "fgsm": 0.1}, purified=purified)
    assert shipped_models(assets)[0].experimental is experimental


@pytest.mark.parametrize("purified", [{"fgsm": 0.5}, {"clean": 2, "fgsm": 0.5}, [], {"clean": 0.9, "cw": 0.1}], ids=str)
def test_a_damaged_file_is_refused(assets: Path, purified: object) -> None:
    edited(assets, undefended={"clean": 0.95, "fgsm": 0.1}, purified=purified)
    with pytest.raises(BundleError, match=r"accuracy\.json.*reinstall"):
        shipped_models(assets)


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "LEAST_ATTACKED", 0.6)
    assert main(["models"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "experimental" in rows["cifar10"] and "experimental" not in rows["mnist"] and "99.3" in rows["mnist"]
    assert main(["models", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert models["cifar10"]["experimental"] is True and models["mnist"]["purified"]["clean"] == 0.993


@pytest.mark.parametrize("name", ["A", "a", "classifer_a", "Classifier_A"])
def test_a_classifiers_name_is_nearly_right(name: str) -> None:
    with pytest.raises(
        BundleError, match=r"no classifier .*: classifier_a, .*; did you mean 'classifier_a'\?"
    ) as caught:
        Purifier.load("mnist", classifier=name)
    assert "samples.npz" not in str(caught.value) and ".onnx" not in str(caught.value)


def test_a_classifier_with_a_separator_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent'?: no such file; give an \.onnx file"):
        Purifier.load("mnist", classifier=str(tmp_path / "absent"))
