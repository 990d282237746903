"""Other shapes of attacks, natural corruptions, and RobustBench's conditions, as results."""

from __future__ import annotations

from pathlib import Path

import pytest

from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.evaluation import beyond
from puvae_rt.evaluation.beyond import evaluate_beyond, sizes_of
from puvae_rt.evaluation.cells import BEYOND
from puvae_rt.evaluation.conditions import evaluate_conditions
from puvae_rt.evaluation.effort import Effort
from puvae_rt.evaluation.results import BEYOND_FILE, CONDITIONS_FILE, read_rows
from puvae_rt.evaluation.timing import Deployed
from tests.evaluation.conftest import Study
from tests.runtime import toy

QUICK = Effort(pgd_steps=3, restarts=1)


def run(bars: Study, defenses: list[str], attacks: list[str]) -> list[dict[str, object]]:
    return evaluate_beyond(bars.dataset, ["A"], defenses, attacks, bars.options._replace(n=6), lambda _: None, QUICK)


@pytest.mark.parametrize("defense", ["none", "puvae_ours"])
def test_every_perturbation_is_measured_at_its_sizes(bars: Study, defense: str) -> None:
    attacks = ["pgd_l2", "patch", "blur", "fog", "jpeg"]
    rows = run(bars, [defense], attacks)
    contract = bars.dataset.contract
    assert [(row["attack"], row["size"]) for row in rows] == [(a, s) for a in attacks for s in sizes_of(a, contract)]
    assert all(row["epsilon"] is None and len(row["standing"]) == 6 for row in rows)  # type: ignore[arg-type]
    assert run(bars, [defense], attacks) == rows == read_rows(bars.options.results / BEYOND_FILE)


def test_a_large_l2_attack_breaks_what_a_small_one_leaves(bars: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beyond, "GRAY_RADII", (0.1, 20.0))
    assert [row["accuracy"] for row in run(bars, ["none"], ["pgd_l2"])] == [1, 0]


def test_sizes_are_those_of_the_images() -> None:
    for attack in BEYOND:
        assert len(sizes_of(attack, ImageContract(1, 28, 28))) == 3
    assert sizes_of("pgd_l2", ImageContract(1, 28, 28)) > sizes_of("pgd_l2", ImageContract(3, 32, 32))
    with pytest.raises(ContractError, match="defense_gan"):
        evaluate_beyond(None, ["A"], ["defense_gan"], ["fog"], None, print)  # type: ignore[arg-type]


def test_conditions_of_the_defenses(bars: Study) -> None:
    options = bars.options._replace(n=6)
    defenses = ["none", "puvae_paper", "puvae_ours"]
    rows = evaluate_conditions(bars.dataset, ["A"], defenses, None, options, lambda _: None)
    none, paper, ours = rows
    assert none["met"] and ours["met"] and not ours["passes_that_differentiate"]
    assert 0 <= ours["zero_gradients"] < 1 and ours["images_without_gradient"] == 0
    assert paper["defense"] == "puvae_paper"
    assert read_rows(bars.options.results / CONDITIONS_FILE) == rows


def test_conditions_of_the_engine(bars: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    deployed = Deployed(str(toy.save_bundle(tmp_path / "bundle")), threads=1)
    options = bars.options._replace(n=4)
    _, engine = evaluate_conditions(bars.dataset, ["A"], ["puvae_ours"], deployed, options, lambda _: None)
    assert engine["defense"] == "puvae_deployed"
    assert engine["met"] and engine["loops"] == 0 and engine["largest_difference"] == 0
