"""Tables and figures come from the stored rows alone."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch

from puvae_rt.evaluation.cells import DEFENSES
from puvae_rt.evaluation.figures import write_figures
from puvae_rt.evaluation.sigma import encode
from puvae_rt.evaluation.tables import (
    NAMES,
    TABLES,
    accuracy_table,
    adaptive_table,
    budget_table,
    models_table,
    summary_table,
    time_table,
    write_tables,
)
from tests.evaluation.test_results import ROW


def lines(text: str) -> list[list[str]]:
    """The cells of a Markdown table's body."""
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")][2:]


def test_a_measured_cell_stands_in_its_place_and_the_others_are_shown_as_not_run() -> None:
    body = lines(accuracy_table(TABLES[0], [ROW, ROW | {"dataset": "fashion_mnist", "accuracy": 0.1}]))
    assert len(body) == 2 * (1 + 2 * 4)
    (row,) = (line for line in body if line[:2] == ["A", "fgsm targeted"])
    assert row[2 + DEFENSES.index("puvae_ours")] == "90.0 [88.0, 92.0]"
    assert [cell for line in body for cell in line[2:8]].count("not run") == 6 * 18 - 1


def test_the_summary_holds_what_was_measured_of_the_targeted_attacks() -> None:
    assert lines(summary_table(TABLES[0], [ROW])) == [
        ["A", "fgsm", *["not run"] * DEFENSES.index("puvae_ours"), "90.0", "81.3"]
    ]
    assert lines(summary_table(TABLES[0], [ROW | {"targeted": False}]))[0][0] == "not run"


def test_the_models_are_shown_undefended_and_purified() -> None:
    rows = [ROW, ROW | {"defense": "none", "accuracy": 0.05}, ROW | {"dataset": "fashion_mnist", "classifier": "B"}]
    mnist, fashion = lines(models_table(rows))
    assert mnist[:4] == ["MNIST", "A", "not run → not run", "5.0 → 90.0"]
    assert fashion[:4] == ["Fashion-MNIST", "B", "not run → not run", "not run → 90.0"]


def test_other_radii_do_not_enter_the_papers_table() -> None:
    assert "90.0 [" not in accuracy_table(TABLES[0], [ROW | {"epsilon": 0.2}])


def test_what_was_measured_alike_shares_a_note_that_names_every_machine_and_commit() -> None:
    rows = [ROW, ROW | {"attack": "ifgsm", "commit": "def"}, ROW | {"classifier": "B", "machine": "another"}]
    notes = [line for line in accuracy_table(TABLES[0], rows).splitlines() if line.startswith("- ")]
    assert notes == [
        "- PuVAE (ours): 1000 images, seed 0, no settings, measured on a processor (abc, def); another (abc)."
    ]
    assert "- PuVAE (ours): 200 images" in accuracy_table(TABLES[0], [*rows, ROW | {"attack": "rand_fgsm", "n": 200}])


def test_the_papers_numbers_stand_beside_ours_with_their_source() -> None:
    text = accuracy_table(TABLES[0], [])
    paper = {line[1]: line[-1] for line in lines(text) if line[0] == "A"}
    assert [paper[f"{a} targeted"] for a in ("fgsm", "ifgsm", "rand_fgsm", "cw")] == ["81.3", "92.3", "82.7", "90.8"]
    assert paper["fgsm untargeted"] == "" and "1903.00585" in text
    assert not any(line[-1] for line in lines(accuracy_table(TABLES[1], [])))


def test_the_ratio_of_times() -> None:
    common = {"dataset": "mnist", "batch": 128, "seed": 0, "repeats": 3, "machine": "m", "commit": "c"}
    rows = [
        common | {"defense": "defense_gan", "seconds": 500.0},
        common | {"defense": "puvae_deployed", "seconds": 0.1},
    ]
    assert lines(time_table(rows)) == [["mnist", "500", "0.1", "5,000 x"]]
    assert lines(time_table(rows[:1])) == [["mnist", "500", "not run", "not run"]]
    assert "134.55" in time_table([])


CURVE = [{"seconds": 0.2, "accuracy": 0.5}, {"seconds": 2.0, "accuracy": 0.75}]
BUDGET = ROW | {"defense": "defense_gan", "curve": CURVE, "seconds": 2.0}


def test_accuracy_within_a_budget_is_that_of_the_last_result_in_it() -> None:
    ((*_, b003, b01, b03, b1, b3, b10, b30, b100, b300, b1000),) = lines(budget_table([BUDGET]))
    assert (b003, b01) == ("-", "-")
    assert (b03, b1) == ("50.0", "50.0")
    assert {b3, b10, b30, b100, b300, b1000} == {"75.0"}


def test_adaptive_attacks_have_a_line_for_each_defense_and_radius() -> None:
    rows = [ROW | {"attack": a, "epsilon": e} for a in ("bpda", "worst") for e in (0.3, 0.1)]
    body = lines(adaptive_table(rows))
    assert [line[2:4] for line in body] == [[NAMES["puvae_ours"], "0.1"], [NAMES["puvae_ours"], "0.3"]]
    assert body[0][4:] == ["not run", "90.0 [88.0, 92.0]", "not run", "not run", "not run", "90.0 [88.0, 92.0]"]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    picture = encode(torch.rand(8, 1, 28, 28), torch.rand(8, 1, 28, 28))
    for file, rows in {
        "defense.json": [ROW, ROW | {"attack": "none", "targeted": False, "epsilon": 0.0}],
        "budget.json": [BUDGET, BUDGET | {"defense": "puvae_deployed", "curve": CURVE[:1]}],
        "sigma.json": [ROW | {"sigma_eps": s, "pictures": picture} for s in (0.0, 0.1)],
        "adaptive.json": [ROW | {"attack": a, "epsilon": e} for a in ("bpda", "worst") for e in (0.1, 0.3)],
    }.items():
        (tmp_path / file).write_text(json.dumps({"results": rows}))
    return tmp_path


def test_every_table_and_figure_is_written_and_comes_out_the_same_again(stored: Path) -> None:
    tables, figures = write_tables(stored), write_figures(stored)
    assert {p.name for p in tables} >= {f"table{i}.md" for i in range(2, 7)} | {"adaptive.md", "traffic_signs.md"}
    assert {p.name for p in figures} == {"figure4_sigma.png", "figure5.png", "adaptive.png"}
    for figure in figures:
        assert cv2.imread(str(figure)).std() > 5  # something is drawn
    before = {p: p.read_bytes() for p in tables + figures}
    write_tables(stored), write_figures(stored)
    assert before == {p: p.read_bytes() for p in tables + figures}


def test_without_results_the_tables_say_so_and_there_are_no_figures(tmp_path: Path) -> None:
    assert "not run" in (tmp_path / "table2.md").read_text() if write_tables(tmp_path) else False
    assert write_figures(tmp_path) == []
