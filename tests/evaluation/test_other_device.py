"""Every mode of an evaluation computes on the device that was asked for, and its rows say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from puvae_rt.evaluation import adaptive
from puvae_rt.evaluation.adaptive import evaluate_adaptive, trials
from puvae_rt.evaluation.attacked import FOLDER
from puvae_rt.evaluation.beyond import evaluate_beyond
from puvae_rt.evaluation.cells import ADAPTIVE_DEFENSES, ATTACKS, BUDGET_DEFENSES, DEFENSES, DEPLOYED, Cell, grid
from puvae_rt.evaluation.conditions import evaluate_conditions
from puvae_rt.evaluation.effort import Effort
from puvae_rt.evaluation.models import Folder
from puvae_rt.evaluation.results import DEFENSE_FILE, Row, read_rows
from puvae_rt.evaluation.run import Options, cell_images, evaluate
from puvae_rt.evaluation.sigma import SIGMAS, search_sigma
from puvae_rt.evaluation.timing import Deployed, budget_curves, time_batch
from puvae_rt.training.device import CPU, device_of
from tests.evaluation.conftest import Study
from tests.other_device import META, OtherDevice
from tests.runtime import toy

GPU = "a GPU"
QUICK = Effort(pgd_steps=2, restarts=1)
HERE = tuple(d for d in DEFENSES if d != "prior_only")  # the study has no prior
NEAR = tuple(d for d in ADAPTIVE_DEFENSES if d != "prior_only")


@pytest.fixture
def there(bars: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study on the stand-in device, which has the name of a GPU."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: GPU)
    monkeypatch.setattr(adaptive, "SAMPLES", 2)
    return bars._replace(options=bars.options._replace(n=6, device=META))


@pytest.fixture
def watched(there: Study) -> Iterator[None]:
    with OtherDevice():
        yield


def on_gpu(rows: list[Row]) -> bool:
    return bool(rows) and all(row["machine"].startswith(f"{GPU}, ") for row in rows)


def cells(bars: Study, attacks: tuple[str, ...], defenses: tuple[str, ...] = HERE) -> list[Cell]:
    return list(grid("bars", bars.dataset.contract, ["A"], attacks, (False,), defenses))


@pytest.mark.usefixtures("watched")
def test_images_and_systems_go_to_the_device(there: Study, tmp_path: Path) -> None:
    cell = Cell("bars", "A", "fgsm", False, 0.3, "none")
    images, labels = cell_images(cell, there.dataset, 6, there.options)
    assert images.is_meta and labels.is_meta
    for trial in trials(there.dataset, ["A"], NEAR, there.options, QUICK):
        assert trial.images.is_meta and trial.labels.is_meta
        classifier = trial.system.defended.classifier
        assert isinstance(classifier, nn.Module) and device_of(classifier) == META
    selector, _ = Folder(tmp_path, "fashion_mnist", device=META).selector("prior_only")  # as it ships
    assert selector.prior is not None and {device_of(selector.vae), device_of(selector.prior)} == {META}
    assert device_of(Folder(tmp_path, "mnist", device=META).classifier("A")) == META


@pytest.mark.usefixtures("watched")
def test_cells_are_measured_there(there: Study) -> None:
    rows = evaluate(cells(there, ATTACKS), there.dataset, there.options)
    assert len(rows) == len(ATTACKS) * len(HERE) and on_gpu(rows)
    (refined,) = evaluate(cells(there, ("none",), ("puvae_ours",)), there.dataset, there.options._replace(refine=1))
    assert on_gpu([refined])


class FakeStandard:
    def __init__(self, model: object, epsilon: float, classes: int, settings: object, device: torch.device) -> None:
        self.warnings: list[str] = []
        assert device == META

    def __call__(self, x: Tensor, label: Tensor) -> str:
        assert x.is_meta and label.is_meta
        return ""


@pytest.mark.usefixtures("watched")
def test_attacks_that_know_the_defense_are_made_there(there: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "StandardAttack", FakeStandard)
    attacks = ["choice", "soft_choice", "bpda", "pgd_eot", "auto_attack"]
    rows = evaluate_adaptive(there.dataset, ["A"], NEAR, attacks, [0.3], there.options, lambda _: None, QUICK)
    assert {row["attack"] for row in rows} == {"none", "worst", *attacks} and on_gpu(rows)
    assert all(row["devices"] == {GPU: 6} for row in rows if row["attack"] != "worst")


@pytest.mark.usefixtures("watched")
def test_other_perturbations_are_made_there(there: Study) -> None:
    attacks = ["pgd_l2", "patch", "blur", "fog"]
    rows = evaluate_beyond(there.dataset, ["A"], ["none", "puvae_ours"], attacks, there.options, lambda _: None, QUICK)
    assert len(rows) == 2 * 3 * len(attacks) and on_gpu(rows)


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    return Deployed(str(toy.save_bundle(tmp_path / "bundle")), threads=1)


def test_conditions_are_measured_there(there: Study, deployed: Deployed) -> None:
    with OtherDevice():
        rows = evaluate_conditions(there.dataset, ["A"], NEAR, deployed, there.options, lambda _: None)
    assert {row["defense"] for row in rows} == {*NEAR, DEPLOYED} and on_gpu(rows)


@pytest.mark.usefixtures("watched")
def test_the_sigma_sweep_is_made_there(there: Study) -> None:
    rows = search_sigma(cells(there, ("fgsm",), ("puvae_ours",)), there.dataset, there.options, lambda _: None)
    assert len(rows) == len(SIGMAS) and on_gpu(rows)


def test_a_mini_batch_is_timed_there_and_the_engine_on_the_cpu(there: Study, deployed: Deployed) -> None:
    with OtherDevice():
        gan, engine = time_batch(there.dataset, deployed, there.options, lambda _: None)
    assert on_gpu([gan]) and gan["settings"]["device"] == GPU
    assert not on_gpu([engine]) and "device" not in engine["settings"]


def test_curves_say_where_each_was_timed(there: Study, deployed: Deployed) -> None:
    cell = Cell("bars", "A", "fgsm", False, 0.3, "puvae_ours")
    note, common = (lambda _: None), ([cell], there.dataset, deployed)
    with OtherDevice():
        rows = budget_curves(*common, BUDGET_DEFENSES, 4, there.options, note)
    assert [row["settings"].get("device") for row in rows] == [None if d == DEPLOYED else GPU for d in BUDGET_DEFENSES]
    assert [on_gpu([row]) for row in rows] == [d != DEPLOYED for d in BUDGET_DEFENSES]
    here = budget_curves(*common, ("magnet",), 4, there.options._replace(device=CPU), note)
    assert "device" not in here[0]["settings"] and not on_gpu(here), "timed anew: a GPU's seconds are not this CPU's"


def test_a_measured_row_counts_on_either_device(bars: Study, there: Study) -> None:
    wanted = cells(bars, ("none", "fgsm"), ("none", "magnet"))
    first = evaluate(wanted, bars.dataset, bars.options)
    assert not on_gpu(first) and all("device" not in row and "devices" not in row for row in first)
    with OtherDevice():
        again = evaluate(wanted, bars.dataset, bars.options._replace(device=META))
    assert again == first == read_rows(bars.options.results / DEFENSE_FILE)


def test_images_that_a_gpu_attacked_are_kept_apart(bars: Study, there: Study) -> None:
    cell = Cell("bars", "A", "fgsm", False, 0.3, "none")
    here, _ = cell_images(cell, bars.dataset, 6, bars.options)
    with OtherDevice():
        cell_images(cell, there.dataset, 6, there.options)
    names = sorted(path.name for path in (bars.models / FOLDER).iterdir())
    assert len(names) == 2 and names[0].endswith("-seed0-meta.npz") and names[1].endswith("-seed0.npz")
    assert torch.equal(cell_images(cell, bars.dataset, 6, bars.options)[0], here)


def test_an_attack_goes_on_on_another_device_and_its_row_tells_both(
    bars: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptive, "CHUNK", 4)

    def attacked(n: int) -> Row:
        common = (bars.dataset, ["A"], ["none"], ["pgd_eot"], [0.3])
        return evaluate_adaptive(*common, bars.options._replace(n=n), lambda _: None, QUICK)[1]

    assert "devices" not in attacked(4)
    monkeypatch.setattr(Options, "gpu", GPU)  # in name alone: the stand-in has no images that could be known again
    assert attacked(6)["devices"] == {"CPU": 4, GPU: 2}
