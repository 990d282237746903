"""Tables and figures come from the stored rows alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import pytest
import torch

from puvae_rt.evaluation import paper
from puvae_rt.evaluation.cells import ATTACKS, DEFENSES
from puvae_rt.evaluation.clock_tables import budget_table, time_table
from puvae_rt.evaluation.figures import write_figures
from puvae_rt.evaluation.labels import NAMES, notes
from puvae_rt.evaluation.robust_tables import beyond_table, conditions_table, worst_table
from puvae_rt.evaluation.sigma import encode
from puvae_rt.evaluation.tables import (
    TABLES,
    accuracy_table,
    adaptive_table,
    models_table,
    paper_table,
    summary_table,
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
    assert [cell for line in body for cell in line[2:]].count("not run") == len(DEFENSES) * 18 - 1


def test_a_cell_of_a_classifier_that_has_other_weights_today_is_marked() -> None:
    undefended = ROW | {"attack": "none", "targeted": False, "epsilon": 0.0, "defense": "none"}
    undefended |= {"weights": {"classifier_a": "new"}}
    old, new = (ROW | {"weights": {"classifier_a": digest, "puvae_ours": "f"}} for digest in ("old", "new"))
    for row, shown in (old, "90.0† [88.0, 92.0]"), (new, "90.0 [88.0, 92.0]"):
        (line,) = (
            line for line in lines(accuracy_table(TABLES[0], [undefended, row])) if line[:2] == ["A", "fgsm targeted"]
        )
        assert line[2 + DEFENSES.index("puvae_ours")] == shown


def test_the_summary_holds_what_was_measured_of_the_targeted_attacks() -> None:
    assert lines(summary_table(TABLES[0], [ROW])) == [["A", "fgsm", "90.0", "81.33"]]
    rows = [ROW, ROW | {"attack": "ifgsm", "defense": "threshold", "accuracy": 0.5}]
    assert lines(summary_table(TABLES[0], rows)) == [
        ["A", "fgsm", "not run", "90.0", "81.33"],
        ["A", "ifgsm", "50.0", "not run", "92.33"],
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
    assert notes(rows) == [
        "- PuVAE (ours): 1000 images, seed 0, no settings, measured on a processor (abc, def); another (abc)."
    ]
    assert "- PuVAE (ours): 200 images" in notes([*rows, ROW | {"attack": "rand_fgsm", "n": 200}])[0]


def test_the_papers_numbers_stand_beside_ours() -> None:
    """Each of Tables 2 to 4; the expected ones are spelled out for a line of each."""
    rows = [ROW, ROW | {"defense": "adv_training", "accuracy": 0.5}, ROW | {"classifier": "B", "targeted": False}]
    body = {(line[0], line[1]): line[2:] for line in lines(paper_table(TABLES[0], rows))}
    assert len(body) == 2 * 5
    theirs = ["12.46", "78.57", "26.90", "85.29", "81.33"]
    assert body["A", "fgsm"] == [
        *("not run", theirs[0], "50.0", theirs[1], "not run", theirs[2], "not run", theirs[3]),
        *("not run", "90.0", theirs[4]),
    ]
    assert body["A", "none"][1::2] == ["99.51", "", "", "", "not run"] and body["A", "none"][-1] == ""
    assert body["B", "fgsm"][9] == "not run"  # untargeted, unlike the paper's
    assert lines(paper_table(TABLES[1], []))[9][::2] == ["B", *["not run"] * 5, "79.42"]  # cw
    cifar10 = {(line[0], line[1]): line[3::2] for line in lines(paper_table(TABLES[2], rows))}
    assert {classifier for classifier, _ in cifar10} == {"C", "D"}
    assert cifar10["D", "ifgsm"][:4] == ["0.43", "21.51", "29.95", "32.47"]


def test_every_number_of_the_papers_accuracy_tables_is_there() -> None:
    places = itertools.product(("mnist", "fashion_mnist", "cifar10"), "ABCD", ATTACKS, paper.DEFENSES)
    found = [number for place in places if (number := paper.accuracy(*place)) is not None]
    assert len(found) == 6 * (1 + 4 * 5)
    assert all(0 <= number <= 100 for number in found)
    assert paper.classifiers("cifar10") == ("C", "D") and paper.classifiers("traffic_signs") == ()


def test_a_data_set_that_the_paper_does_not_have_has_one_table(stored: Path) -> None:
    write_tables(stored)
    assert "paper" not in (stored / "traffic_signs.md").read_text().replace(NAMES["puvae_paper"], "")
    table2 = (stored / "table2.md").read_text()
    assert table2.startswith("### Table 2: MNIST\n\nOurs beside the paper's (Hwang et al. 2019, arXiv 1903.00585)")
    assert [line[:9] for line in table2.splitlines()].count("| --- | -") == 2


def test_the_ratio_of_times() -> None:
    common = {"dataset": "mnist", "batch": 128, "seed": 0, "repeats": 3, "machine": "m", "commit": "c"}
    rows = [
        common | {"defense": "defense_gan", "seconds": 500.0},
        common | {"defense": "puvae_deployed", "seconds": 0.1},
    ]
    theirs = ["14.8", "0.11", "134.55 x"]
    assert lines(time_table(rows)) == [["mnist", *interleaved(["500", "0.1", "5,000 x"], theirs)]]
    assert lines(time_table(rows[:1])) == [["mnist", *interleaved(["500", "not run", "not run"], theirs)]]
    assert lines(time_table([]))[0][1:3] == ["not run", "14.8"]
    assert lines(time_table([row | {"dataset": "bars"} for row in rows]))[1] == [
        "bars",
        *interleaved(["500", "0.1", "5,000 x"], ["", "", ""]),
    ]


def interleaved(first: list[str], second: list[str]) -> list[str]:
    return [cell for pair in zip(first, second, strict=True) for cell in pair]


CURVE = [{"seconds": 0.2, "accuracy": 0.5}, {"seconds": 2.0, "accuracy": 0.75}]
BUDGET = ROW | {"defense": "defense_gan", "curve": CURVE, "seconds": 2.0}


def test_accuracy_within_a_budget_is_that_of_the_last_result_in_it() -> None:
    body = {(line[2], line[3]): line[4:] for line in lines(budget_table([BUDGET]))}
    assert body["fgsm targeted", "Defense-GAN"] == ["-", "-", "50.0", "50.0", "69.25", *["75.0"] * 6]


def test_the_papers_accuracies_within_a_second_stand_beside_ours_in_every_line_that_it_has() -> None:
    body = {(line[2], line[3]): line[4:] for line in lines(budget_table([BUDGET | {"defense": "puvae_refined"}]))}
    theirs = {key: line[4] for key, line in body.items()}
    assert len(body) == 4 * 4 + 1 and theirs["fgsm targeted", NAMES["puvae_refined"]] == ""
    assert theirs["cw targeted", "FGSM training"] == "18.80"
    assert theirs["ifgsm targeted", NAMES["puvae_deployed"]] == "92.33"
    assert theirs["rand_fgsm targeted", "MagNet"] == "32.34"
    assert body["cw targeted", "MagNet"][:4] == ["not run"] * 4


def test_adaptive_attacks_have_a_line_for_each_defense_and_radius() -> None:
    rows = [ROW | {"attack": a, "epsilon": e} for a in ("bpda", "worst") for e in (0.3, 0.1)]
    body = lines(adaptive_table(rows))
    assert [line[2:4] for line in body] == [[NAMES["puvae_ours"], "0.1"], [NAMES["puvae_ours"], "0.3"]]
    assert body[0][4:] == ["90.0 [88.0, 92.0]", "90.0 [88.0, 92.0]"]
    assert lines(adaptive_table([*rows, ROW | {"attack": "none", "epsilon": 0.0}])) == body


def test_the_worst_of_all_attacks_is_joined_image_by_image_out_of_both_files() -> None:
    common = ROW | {"n": 4, "image_set": "abc", "accuracy": 0.5}
    rows = [
        common | {"attack": "none", "epsilon": 0.0, "standing": "1110"},
        common | {"attack": "fgsm", "epsilon": 0.1, "standing": "1010"},
        common | {"attack": "choice", "epsilon": 0.3, "standing": "0110"},
        common | {"attack": "bpda", "epsilon": 0.3, "standing": "1110", "image_set": "other"},
        common | {"attack": "bpda", "epsilon": 0.3, "standing": "1111", "weights": {"puvae_ours": "f"}},
        common | {"attack": "worst", "epsilon": 0.3, "standing": "0000"},
        common | {"attack": "cw", "epsilon": None, "standing": "0000"},
        ROW | {"attack": "ifgsm", "epsilon": 0.3},
    ]
    body = lines(worst_table(rows))
    assert [(line[4], line[6].split()[0], line[7]) for line in body] == [
        ("0.1", "50.0", "fgsm"),
        ("0.3", "100.0", "bpda"),
        ("0.3", "25.0", "fgsm, choice"),
        ("0.3", "75.0", "bpda"),
    ]
    assert body[0][5] == "50.0 [88.0, 92.0]" and body[1][5] == "not run"  # the clean row is another system's
    assert lines(worst_table([])) == [["not run"] * 8]


def test_other_perturbations_have_a_line_for_each_size() -> None:
    rows = [ROW | {"attack": a, "epsilon": None, "size": s} for a in ("fog", "pgd_l2") for s in (2, 1)]
    body = lines(beyond_table([*rows, rows[0] | {"defense": "magnet"}]))
    assert [line[2:4] for line in body] == [["pgd_l2", "1"], ["pgd_l2", "2"], ["fog", "1"], ["fog", "2"]]
    assert body[3][4:] == ["90.0 [88.0, 92.0]"] * 2 and body[0][4] == "not run"


CONDITION = {
    "dataset": "mnist",
    "classifier": "A",
    "n": 10,
    "zero_gradients": 0.25,
    "images_without_gradient": 0.0,
    "largest_difference": 0.0,
    "passes_that_differentiate": 0,
    "loops": 0,
    "met": True,
}


def test_conditions_say_what_was_measured_and_whether_it_is_met() -> None:
    rows = [CONDITION | {"defense": "puvae_deployed"}, CONDITION | {"defense": "none", "loops": 2, "met": False}]
    assert [line[2:] for line in lines(conditions_table(rows))] == [
        [NAMES["none"], "10", "0.25", "0", "0", "0", "2", "no"],
        [NAMES["puvae_deployed"], "10", "0.25", "0", "0", "0", "0", "yes"],
    ]


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
