"""The evaluation of cells: rows, skipping, a kill, and what makes a cell out of date."""

from __future__ import annotations

import pytest
import torch

from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation import run
from puvae_rt.evaluation.cells import DEFENSES, grid
from puvae_rt.evaluation.models import Folder, build
from puvae_rt.evaluation.results import DEFENSE_FILE, read_rows
from puvae_rt.evaluation.run import evaluate
from puvae_rt.evaluation.sigma import PICTURES, SIGMAS, decode, search_sigma
from puvae_rt.training.artefacts import load_classifier, save_classifier
from tests.evaluation.conftest import Study

MEASURED = tuple(defense for defense in DEFENSES if defense != "prior_only")  # the study has no prior


def cells(bars: Study, attacks: tuple[str, ...] = ("none", "fgsm"), defenses: tuple[str, ...] = MEASURED) -> list:  # type: ignore[type-arg]
    return list(grid("bars", bars.dataset.contract, ["A"], attacks, (False,), defenses))


def test_every_defense_is_measured_on_the_same_attacked_images(bars: Study) -> None:
    rows = evaluate(cells(bars), bars.dataset, bars.options)
    assert len(rows) == len(read_rows(bars.options.results / DEFENSE_FILE)) == 2 * len(MEASURED)
    found = {(row["attack"], row["defense"]): row for row in rows}
    assert found["none", "none"]["accuracy"] == 1.0  # the bars are easy
    assert found["fgsm", "none"]["accuracy"] < 0.5
    assert {row["n"] for row in rows if row["defense"] == "defense_gan"} == {4}
    assert all(row["n"] == 20 for row in rows if row["defense"] != "defense_gan")
    assert all(0 <= row["ci_low"] <= row["accuracy"] <= row["ci_high"] <= 1 for row in rows)
    assert len(list((bars.models / "attacked").iterdir())) == 1


def test_the_stored_accuracy_is_that_of_the_defended_classifier(bars: Study) -> None:
    (row,) = evaluate(cells(bars, ("none",), ("magnet",)), bars.dataset, bars.options)
    system = build(Folder(bars.options.models, "bars"), "magnet", "A", 0, bars.options.search, 0)
    images, labels = bars.dataset.test.batch(slice(0, 20))
    expected = (system.defended.classify(torch.from_numpy(images)).numpy() == labels).mean()
    assert row["accuracy"] == expected


def test_a_killed_evaluation_goes_on_from_the_finished_cells(bars: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = cells(bars, defenses=("none", "magnet"))
    whole = evaluate(wanted, bars.dataset, bars.options._replace(results=bars.folder / "whole"))
    plain, measured = run._measure, []

    def counted(cell, *given):  # type: ignore[no-untyped-def]
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(cell)
        return plain(cell, *given)

    monkeypatch.setattr(run, "_measure", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(wanted, bars.dataset, bars.options)
    measured.clear()
    rows = evaluate(wanted, bars.dataset, bars.options)
    assert measured == wanted[3:]
    assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in whole]


def test_a_cell_is_measured_again_when_its_weights_changed(bars: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = cells(bars, ("none",), ("none", "adv_training"))
    evaluate(wanted, bars.dataset, bars.options)
    path = bars.models / "classifier_a.safetensors"
    model, meta = load_classifier(path)
    for parameter in model.parameters():
        parameter.zero_()
    save_classifier(path, model, "A", bars.dataset, {"schedule": meta["schedule"]})
    rows = evaluate(wanted, bars.dataset, bars.options)
    assert [row["accuracy"] for row in rows] == [0.2, 1.0]  # class 0 whatever the image; untouched
    assert len(read_rows(bars.options.results / DEFENSE_FILE)) == 2


def test_settings_are_told_with_the_number(bars: Study) -> None:
    defenses = ("bit_depth", "jpeg", "defense_gan", "puvae_paper", "puvae_ours")
    rows = evaluate(cells(bars, ("none",), defenses), bars.dataset, bars.options)
    bits, jpeg, gan, paper, ours = (row["settings"] for row in rows)
    assert (bits, jpeg) == ({"gray_bits": 1, "color_bits": 4}, {"quality": 75})
    assert (gan["steps"], gan["restarts"]) == (2, 2)
    assert (paper["sigma_eps"], ours["sigma_eps"]) == (0.1, 0.0)
    (refined,) = evaluate(cells(bars, ("none",), ("puvae_ours",)), bars.dataset, bars.options._replace(refine=1))
    assert refined["settings"]["refinement"]["steps"] == 1


def test_untrained_models_are_named_with_the_command_that_trains_them(bars: Study) -> None:
    (bars.models / "magnet.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"magnet.safetensors.*`puvae train-baselines`"):
        evaluate(cells(bars, ("none",), ("magnet",)), bars.dataset, bars.options)


def test_the_sigma_search_has_a_row_and_pictures_for_each_sigma(bars: Study) -> None:
    wanted = cells(bars, ("fgsm",), ("puvae_ours",))
    rows = search_sigma(wanted, bars.dataset, bars.options._replace(n=10), lambda _: None)
    assert [row["sigma_eps"] for row in rows] == list(SIGMAS)
    assert decode(rows[0]["pictures"]).shape == (2 * 28, PICTURES * 28, 3)
    assert search_sigma(wanted, bars.dataset, bars.options._replace(n=10), lambda _: None) == rows
