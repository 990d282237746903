"""The command: what it prints, and what it says to bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from puvae_rt.cli.commands import evaluate as command
from puvae_rt.evaluate import main
from puvae_rt.evaluation.cells import DEFENSES
from puvae_rt.evaluation.run import Options as Settings
from tests.evaluation.conftest import Study
from tests.evaluation.study import save_images
from tests.evaluation.test_results import ROW


def arguments(bars: Study, *more: str) -> list[str]:
    places = ("--data", str(bars.folder / "bars.npz"), "--runs", str(bars.folder / "runs"))
    return ["--dataset", "bars", *places, "--results", str(bars.options.results), "--images", "10", *more]


def test_cells_are_measured_printed_and_tabled(bars: Study, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments(bars, "--attack", "none", "--defense", "none", "magnet", "--json")
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert [(row["defense"], row["n"]) for row in rows] == [("none", 10), ("magnet", 10)]
    assert json.loads((bars.options.results / "defense.json").read_text())["results"] == rows
    assert main(command) == 0
    assert capsys.readouterr().err.count("(stored)") == 2
    assert main(["--tables", "--results", str(bars.options.results)]) == 0
    assert "table2.md" in capsys.readouterr().out


@pytest.mark.parametrize("mode", [[], ["--adaptive"], ["--beyond"], ["--conditions"], ["--sigma-sweep"], ["--time"]])
def test_every_mode_hands_the_device_on(
    bars: Study, mode: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[Settings] = []

    def instead(options: object, dataset: object, settings: Settings) -> list[object]:
        taken.append(settings)
        return []

    monkeypatch.setattr(command, "_mode", lambda options: instead)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    assert main(arguments(bars, *mode)) == main(arguments(bars, *mode, "--device", "cuda")) == 0
    assert capsys.readouterr().err.count("device: cuda:0 (a GPU)\n") == 2
    assert main(arguments(bars, *mode, "--device", "cpu")) == 0
    assert [str(settings.device) for settings in taken] == ["cuda:0", "cuda:0", "cpu"]


def test_without_a_choice_every_defense_that_has_weights_is_measured(
    bars: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    (bars.models / "pgd_training_a.safetensors").unlink()
    gan = ("--gan-steps", "1", "--gan-restarts", "1", "--defense-gan-images", "2")
    assert main(arguments(bars, "--attack", "none", *gan, "--baselines", str(bars.folder / "kept"), "--json")) == 0
    told = capsys.readouterr()
    measured = [row["defense"] for row in json.loads(told.out)["results"]]
    assert measured == [defense for defense in DEFENSES if defense not in ("pgd_training", "prior_only")]
    assert "no weights of pgd_training, prior_only: not measured" in told.err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--epsilon", "1.5"], "epsilon=1.5: expected 0 < epsilon <= 1"),
        (["--epsilon", "0"], "epsilon=0.0"),
        (["--epsilon", "0", "--data", "nowhere.npz"], "epsilon=0.0"),
        (["--time", "--bundle", "nope", "--data", "nowhere.npz"], "no shipped model 'nope'"),
        (["--bundle", "no/bundle", "--data", "nowhere.npz"], "no/bundle: no manifest.json in it"),
        (["--images", "0"], "expected at least 1 image"),
        (["--device", "cuda", "--data", "nowhere.npz"], "device cuda: PyTorch"),
        (["--gan-steps", "0"], "--gan-steps"),
        (["--gan-rate", "nan"], "--gan-rate"),
        (["--gan-spread", "0"], "--gan-spread"),
        (["--runs", "nowhere"], "`puvae train`"),
        (["--adaptive", "--defense", "defense_gan"], "defense 'defense_gan'"),
        (["--sigma-sweep", "--defense", "magnet"], "sigma_eps is PuVAE's"),
        (["--dataset", "elsewhere", "--data", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_bad_input_is_told_in_one_line(
    bars: Study, more: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(arguments(bars, *more)) == 2
    err = capsys.readouterr().err
    assert told in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_dataset_of_one_class_is_refused(bars: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = save_images(tmp_path / "one.npz", classes=1)
    assert main(arguments(bars, "--data", str(single))) == 2
    assert "1 classes in the training labels; expected 2" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [["--tables"], ["--attack", "none", "--defense", "none"]], ids=["tables", "cells"])
def test_results_that_lack_a_field_are_refused(
    bars: Study, mode: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bars.options.results.mkdir()
    broken = {key: value for key, value in ROW.items() if key != "ci_low"}
    (bars.options.results / "defense.json").write_text(json.dumps({"results": [broken]}))
    assert main(arguments(bars, *mode)) == 2
    assert "results[0]: ci_low: got nothing" in capsys.readouterr().err


def test_tables_of_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    assert main(["--tables", "--results", str(results)]) == 2
    assert f"{results}: holds none of defense.json" in capsys.readouterr().err
    assert not results.exists()
