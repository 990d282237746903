"""Small data sets are trained, and what cannot be trained is refused before anything is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calib import low_rank
from puvae_rt.contract import Score
from puvae_rt.data import load_dataset
from puvae_rt.errors import CheckpointError, ContractError, DataError, FileError, PuvaeError
from puvae_rt.models.puvae import PuVAE
from puvae_rt.train import main
from puvae_rt.training import baseline_stages, search, stages
from puvae_rt.training.artefacts import save_puvae
from puvae_rt.training.plan import make_folder
from puvae_rt.training.recipes import CLASSIFIER_SCHEDULE, PAPER, PUVAE_SCHEDULE, Schedule
from puvae_rt.training.settings import LowRankSettings, SearchSettings
from puvae_rt.training.stages import Settings, Stage, train_classifier, train_dataset
from tests.data.trees import tree
from tests.evaluation.study import save_images

CLASSES = 3


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test as soon as a training begins."""
    for module in (stages, baseline_stages, low_rank):
        monkeypatch.setattr(module, "train_stage", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(search, "run_trial", lambda *_: pytest.fail("trained"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data = save_images(tmp_path / "own.npz", train=24, test=6, classes=CLASSES)
    return Settings(
        "own", data, tmp_path / "runs", epochs=1, classifier_epochs=1, ranks=(2, 2, 2), replays=1, targets=("A",)
    )


@pytest.mark.parametrize("batch", [128, 16, 1])
def test_a_data_set_smaller_than_the_batch_is_trained(settings: Settings, batch: int) -> None:
    summary = train_dataset(settings._replace(batch=batch, limit=9))
    assert set(summary["results"]) == {"source", "classifier_a", "puvae_ours_low_rank"}
    folder = settings.out / "own"
    for name, expected in (("classifier_a", 9), ("puvae_ours_low_rank", min(batch, 9))):
        meta = stages.load_classifier if name == "classifier_a" else stages.load_puvae
        assert meta(folder / f"{name}.safetensors")[1]["schedule"]["batch"] == expected


@pytest.mark.parametrize("baseline", ["magnet", "defense_gan"])
def test_baselines_of_a_small_data_set_are_trained(settings: Settings, baseline: str) -> None:
    asked = baseline_stages.Settings("own", baseline, settings.data, settings.out, epochs=1, batch=500)
    baseline_stages.train_baseline(asked)
    assert (settings.out / "own" / f"{baseline}.safetensors").is_file()


def other(settings: Settings, **changes: Any) -> Settings:
    return settings._replace(**changes)


def black_and_white(settings: Settings) -> Settings:
    return other(settings, data=tree(settings.out.parent / "tree"))


REFUSED: dict[str, tuple[Callable[[Settings], Settings], str]] = {
    "ranks of black and white images": (black_and_white, "--ranks"),
    "ranks too large": (lambda s: other(s, ranks=(2, 2, 5000)), "--ranks"),
    "a limit of nothing": (lambda s: other(s, limit=0), "--limit"),
    "a limit below": (lambda s: other(s, limit=-3), "--limit"),
    "no epoch of the classifiers": (lambda s: other(s, classifier_epochs=0), "--classifier-epochs"),
    "no batch": (lambda s: other(s, batch=0), "--batch"),
    "weight that is no number": (lambda s: other(s, source_weight=float("nan")), "source"),
    "ranking switched off": (lambda s: other(s, ranking_weight=0.0), "--ranking-weight"),
    "a name that no file can have": (lambda s: other(s, dataset="../up"), "--dataset"),
}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("case", REFUSED)
def test_settings_are_refused_before_anything_is_trained(settings: Settings, case: str) -> None:
    change, told = REFUSED[case]
    with pytest.raises(PuvaeError, match=told):
        train_dataset(change(settings))
    assert not settings.out.exists()


def trained(settings: Settings, name: str, schedule: Schedule) -> Path:
    """A classifier of another training, where this one would put its own."""
    stage = Stage(settings.out / "own", name)
    stage.folder.mkdir(parents=True, exist_ok=True)
    train_classifier(stage, "A", load_dataset("own", settings.data), schedule)
    return stage.weights


def test_files_of_another_training_are_refused_before_anything_is_trained(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = trained(settings, "classifier_a", Schedule(1, 8, seed=9))
    with monkeypatch.context() as context:
        context.setattr(stages, "train_stage", lambda *_: pytest.fail("trained"))
        with pytest.raises(CheckpointError, match=r"classifier_a.* other schedule"):
            train_dataset(settings)
        weights.unlink()  # its checkpoint is in the way as well
        with pytest.raises(CheckpointError, match=r"classifier_a\.checkpoint.* other"):
            train_dataset(settings)
        Stage(weights.parent, "classifier_a").checkpoint.unlink()
        Stage(weights.parent, "puvae_ours_low_rank").weights.mkdir()
        with pytest.raises(CheckpointError, match="is a folder"):
            train_dataset(settings)


def test_weights_for_other_classes_are_not_read_back(settings: Settings, tmp_path: Path) -> None:
    schedule = Schedule(1, 8)
    trained(settings, "classifier_a", schedule)
    more = load_dataset("own", save_images(tmp_path / "more.npz", train=24, test=8, classes=4))
    with pytest.raises(CheckpointError, match="other classes"):
        train_classifier(Stage(settings.out / "own", "classifier_a"), "A", more, schedule)


def test_every_attacked_classifier_has_to_be_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(settings, "classifier_a", CLASSIFIER_SCHEDULE.fit_to(8))
    monkeypatch.setattr(baseline_stages, "train_stage", lambda *_: pytest.fail("trained"))
    asked = baseline_stages.Settings("own", "adv_training", settings.data, settings.out, targets=("A", "B"))
    with pytest.raises(CheckpointError, match="classifier_b"):
        baseline_stages.train_baseline(asked)
    with pytest.raises(ContractError, match="--limit"):
        baseline_stages.train_baseline(asked._replace(limit=-1))


def search_args(settings: Settings, **changes: Any) -> SearchSettings:
    asked = SearchSettings(dataset="own", data=settings.data, runs=settings.out, out=settings.out / "found")
    return replace(asked, **changes)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("option", ["images", "validation", "epochs"])
def test_a_search_of_nothing_is_refused(settings: Settings, option: str) -> None:
    with pytest.raises(ContractError, match=f"--{option}"):
        search.search(search_args(settings, **{option: 0}))


def test_a_search_needs_a_source_of_the_same_images(settings: Settings, tmp_path: Path) -> None:
    weights = trained(settings, "classifier_a", Schedule(1, 8))
    weights.rename(weights.with_name("source.safetensors"))
    data = save_images(tmp_path / "more.npz", train=24, test=8, classes=4)
    with pytest.raises(ContractError, match=r"of 3 classes .* of 4 classes"):
        search.search(search_args(settings, data=data))


def test_a_search_on_few_images_runs_to_its_table(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = trained(settings, "classifier_a", Schedule(1, 8))
    weights.rename(weights.with_name("source.safetensors"))
    monkeypatch.setattr(search, "TRIALS", {"paper": search.PAPER})
    found = search.search(search_args(settings, epochs=1))
    assert [row["trial"] for row in found["results"]] == ["paper"]
    assert (settings.out / "found" / "search_own.png").is_file()


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"puvae": "../up"}, "--name"),
        ({"fc1": 0}, "--fc1"),
        ({"epochs": 0}, "--epochs"),
        ({"validation": 0}, "--validation"),
        ({"dataset": "a b"}, "--dataset"),
    ],
    ids=str,
)
def test_low_rank_is_refused_before_it_begins(settings: Settings, changes: dict[str, Any], told: str) -> None:
    asked = LowRankSettings(dataset="own", data=settings.data, runs=settings.out)
    with pytest.raises((ContractError, DataError), match=told):
        low_rank.run(replace(asked, **changes))


def test_low_rank_of_a_small_data_set_is_fine_tuned(settings: Settings) -> None:
    weights = trained(settings, "classifier_a", Schedule(1, 8))
    weights.rename(weights.with_name("source.safetensors"))
    dataset, history = (
        load_dataset("own", settings.data),
        {"schedule": PUVAE_SCHEDULE.record(), "recipe": PAPER.record()},
    )
    full = PuVAE(dataset.contract, CLASSES)
    save_puvae(settings.out / "own" / "puvae_ours.safetensors", full, dataset, Score(), history)
    few = LowRankSettings("own", settings.data, settings.out, fc1=2, fc2=2, trunk=2, epochs=1)
    summary = low_rank.run(few)
    assert np.isfinite(summary["accuracy"]["fine_tuned"]["clean"])
    assert (settings.out / "own" / "puvae_ours_low_rank.safetensors").is_file()


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"")
    with pytest.raises(FileError, match=r"mine\.npz: is a file, expected a folder"):
        make_folder(tmp_path / "mine.npz" / "mnist")
    make_folder(tmp_path / "runs" / "mnist")
    assert (tmp_path / "runs" / "mnist").is_dir()


def test_a_start_that_is_not_there_is_named_with_the_models_that_ship(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--init", "nope", "--runs", str(tmp_path)]) == 2
    assert "--init nope: no such file, and no model of that name ships (cifar10, " in capsys.readouterr().err
