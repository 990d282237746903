"""Adaptive attacks as results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from puvae_rt.contract import ImageContract
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
        (0.0, "none"),
        *((epsilon, attack) for epsilon in (0.05, 0.3) for attack in ("pgd_eot", "square", "worst")),
    ]
    assert len({row["image_set"] for row in rows}) == 1
    for *single, worst in (rows[1:4], rows[4:]):
        together = [all(s == "1" for s in marks) for marks in zip(*(row["standing"] for row in single), strict=True)]
        assert worst["accuracy"] == sum(together) / 6
    assert rows[-1]["accuracy"] <= rows[3]["accuracy"] <= rows[0]["accuracy"]
    assert run(bars, ["none"], ["pgd_eot", "square"], [0.05, 0.3]) == rows  # stored


@pytest.mark.parametrize("defense", ["magnet", "puvae_paper", "puvae_ours"])
def test_purifiers_are_attacked_in_every_way_that_fits_them(bars: Study, defense: str) -> None:
    rows = run(bars, [defense], ["choice", "soft_choice", "bpda", "pgd_eot", "auto_rand"], [0.3])
    ways = [*(["choice", "soft_choice"] if defense != "magnet" else []), "bpda", "pgd_eot", "auto_rand", "worst"]
    assert [row["attack"] for row in rows] == ["none", *ways]


class FakeStandard:
    """AutoAttack that breaks every second image it is given, and dies when it is told to."""

    seen = 0
    dies_at: int | None = None

    def __init__(self, *_: object) -> None:
        self.warnings = ["a warning"]

    def __call__(self, x: Tensor, label: Tensor) -> str:
        if FakeStandard.seen == FakeStandard.dies_at:
            raise KeyboardInterrupt
        assert x.shape == (1, 1, 28, 28) and label.shape == (1,)
        FakeStandard.seen += 1
        return "apgd_t" if FakeStandard.seen % 2 else ""


def test_the_standard_attack_goes_on_where_it_was_killed(bars: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "StandardAttack", FakeStandard)
    monkeypatch.setattr(FakeStandard, "seen", 0)
    monkeypatch.setattr(FakeStandard, "dies_at", 4)
    with pytest.raises(KeyboardInterrupt):
        run(bars, ["none"], ["auto_attack"], [0.3])
    (file,) = (bars.models / "outcomes").glob("*auto_attack*.jsonl")
    assert len(file.read_text().splitlines()) == 1 + 4
    monkeypatch.setattr(FakeStandard, "dies_at", None)
    _, row, worst = run(bars, ["none"], ["auto_attack"], [0.3])
    assert FakeStandard.seen == 6
    assert row["standing"] == worst["standing"] == "010101" and row["broken_by"] == {"apgd_t": 3}
    assert row["warnings"] == ["a warning"]
    assert row["settings"]["effort"] == {"steps": 100, "targets": 9, "queries": 5000, "seed": 0}


def test_more_images_go_on_behind_the_first(bars: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "StandardAttack", FakeStandard)
    monkeypatch.setattr(FakeStandard, "seen", 0)
    for n in (3, 5):
        options = bars.options._replace(n=n)
        _, row, _ = evaluate_adaptive(bars.dataset, ["A"], ["none"], ["auto_attack"], [0.3], options, print, QUICK)
        assert row["n"] == n and FakeStandard.seen == n
    stored = json.loads(Path(bars.options.results / "adaptive.json").read_text())["results"]
    assert {row["n"] for row in stored} == {5}


def test_the_exact_model_is_the_deployed_one(bars: Study) -> None:
    (trial,) = adaptive.trials(bars.dataset, ["A"], ["puvae_ours"], bars.options._replace(n=4), QUICK)
    assert trial.target.exact is not None
    with torch.no_grad():
        torch.testing.assert_close(trial.target.exact(trial.images), trial.target.model(trial.images))


def test_what_cannot_be_attacked_is_refused(bars: Study) -> None:
    with pytest.raises(ContractError, match="defense_gan"):
        run(bars, ["defense_gan"], ["bpda"], [0.3])
    with pytest.raises(ContractError, match="epsilon"):
        run(bars, ["none"], ["pgd_eot"], [0.3, 1.2])


def test_default_radii_go_beyond_the_papers(bars: Study) -> None:
    assert default_epsilons(bars.dataset.contract) == [0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
    color = default_epsilons(ImageContract(3, 32, 32))
    assert {0.06, 8 / 255, 0.5} <= set(color) and color == sorted(color)


def test_the_accuracy_falls_to_zero_as_epsilon_grows(bars: Study) -> None:
    rows = run(bars, ["none"], ["pgd_eot", "square"], [0.02, 0.9])
    worst = [row["accuracy"] for row in rows if row["attack"] in ("none", "worst")]
    assert worst[0] >= worst[1] >= worst[2] == 0
