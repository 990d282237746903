"""The documentation's page of accuracies is what the code makes of the stored results."""

from __future__ import annotations

from pathlib import Path

from puvae_rt.evaluation.cells import DEFENSES
from puvae_rt.evaluation.labels import NAMES
from puvae_rt.evaluation.page import accuracy_page, standings
from tests.evaluation.test_results import ROW, save
from tests.evaluation.test_tables import lines

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "accuracy.md"


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    assert PAGE.read_text("utf-8") == accuracy_page(ROOT / "results"), (
        f"python -m puvae_rt.evaluation.page > {PAGE.relative_to(ROOT)}"
    )


def test_the_page_explains_every_column(tmp_path: Path) -> None:
    text = accuracy_page(tmp_path)
    assert all(f"| {NAMES[defense]} | " in text for defense in DEFENSES)
    assert "It was trained on FGSM, and on no other." in text


def test_leaking_is_told_where_it_is_seen(tmp_path: Path) -> None:
    mine = ROW | {"defense": "adv_training", "targeted": False}
    clean = mine | {"attack": "none", "epsilon": 0.0, "accuracy": 0.8}
    save(tmp_path, [mine, clean, mine | {"classifier": "B", "accuracy": 0.7}, clean | {"classifier": "B"}])
    assert "(MNIST A, 90.0 and 80.0%),\n  it reads the class off" in accuracy_page(tmp_path)


def test_standings_count_the_cells_that_both_have() -> None:
    rival = ROW | {"defense": "magnet"}
    rows = [ROW, rival | {"accuracy": 0.8}]
    rows += [row | {"attack": "cw", "epsilon": None} for row in (ROW, rival)]  # a tie, half a cell
    rows += [ROW | {"attack": "ifgsm"}, rival | {"attack": "ifgsm", "accuracy": 0.95}]
    rows += [row | {"attack": "none", "epsilon": 0.0, "targeted": False} for row in (ROW, rival)]  # no attack
    rows += [row | {"epsilon": 0.1} for row in (ROW, rival)]  # not the tables' radius
    rows += [rival | {"attack": "rand_fgsm"}]  # not measured with ours
    found = {line[0]: line[1:] for line in lines(standings(rows))}
    assert found["MagNet"] == ["1.5 of 3", "not run", "not run", "not run"]
    assert found["Defense-GAN"] == ["not run"] * 4
    assert found["paper's PuVAE"][0] == "1 of 3"  # 90.0 against 81.33, 92.33 and 90.80
