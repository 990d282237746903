"""Adaptive attacks as results."""

from __future__ import annotations

import pytest

from puvae_rt.errors import ContractError
from puvae_rt.evaluation import adaptive
from puvae_rt.evaluation.adaptive import Effort, default_epsilons, evaluate_adaptive
from tests.evaluation.conftest import Study


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "SAMPLES", 2)


QUICK = Effort(pgd_steps=3, restarts=1, apgd_steps=2, queries=5)


def run(bars: Study, defenses: list[str], attacks: list[str], epsilons: list[float]) -> list[dict[str, object]]:
    options = bars.options._replace(n=6)
    return evaluate_adaptive(bars.dataset, ["A"], defenses, attacks, epsilons, options, lambda _: None, QUICK)


def test_the_worst_of_all_attacks_is_counted_image_by_image(bars: Study) -> None:
    rows = run(bars, ["none"], ["pgd_eot", "square"], [0.05, 0.3])
    assert [(row["epsilon"], row["attack"]) for row in rows] == [
        (epsilon, attack) for epsilon in (0.05, 0.3) for attack in ("pgd_eot", "square", "worst")
    ]
    for *single, worst in (rows[:3], rows[3:]):
        together = [all(s == "1" for s in marks) for marks in zip(*(row["standing"] for row in single), strict=True)]
        assert worst["accuracy"] == sum(together) / 6
    assert rows[-1]["accuracy"] <= rows[2]["accuracy"]
    assert run(bars, ["none"], ["pgd_eot", "square"], [0.05, 0.3]) == rows  # stored


@pytest.mark.parametrize("defense", ["magnet", "puvae_paper", "puvae_ours"])
def test_purifiers_are_attacked_in_every_way_that_fits_them(bars: Study, defense: str) -> None:
    rows = run(bars, [defense], ["pgd_eot", "bpda", "choice", "auto_rand"], [0.3])
    ways = ["pgd_eot", "bpda", *(["choice"] if defense != "magnet" else []), "auto_rand", "worst"]
    assert [row["attack"] for row in rows] == ways


def test_what_cannot_be_attacked_is_refused(bars: Study) -> None:
    with pytest.raises(ContractError, match="defense_gan"):
        run(bars, ["defense_gan"], ["bpda"], [0.3])
    with pytest.raises(ContractError, match="epsilon"):
        run(bars, ["none"], ["pgd_eot"], [0.3, 1.2])


def test_default_radii_go_beyond_the_papers(bars: Study) -> None:
    assert default_epsilons(bars.dataset.contract) == [0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
