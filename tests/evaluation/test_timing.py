"""One clock for every defense, and nobody else's work on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from puvae_rt.errors import ContractError
from puvae_rt.evaluation.cells import BUDGET_DEFENSES, Cell
from puvae_rt.evaluation.timing import Deployed, budget_curves, interleave, results_over_time, time_batch
from puvae_rt.runtime.preprocess import as_batch
from tests.evaluation.conftest import Study
from tests.runtime import toy

X = torch.zeros(4, 1, 2, 2)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """Three steps of 10 s; the whole batch's, as its images are counted."""

    def __init__(self, time: Time) -> None:
        self.time = time

    def purify(self, images: Tensor) -> Tensor:
        return list(self.anytime(images))[-1]

    def anytime(self, images: Tensor) -> Iterator[Tensor]:
        for _ in range(3):
            self.time.now += 2.5 * len(images)
            yield images


class Fast:
    def __init__(self, time: Time) -> None:
        self.time = time

    def purify(self, images: Tensor) -> Tensor:
        self.time.now += 0.25 * len(images)
        return images


def test_interleaved_runs_do_not_count_each_other() -> None:
    time = Time()
    assert interleave(Slow(time), Fast(time), X, time) == (30.0, [1.0, 1.0, 1.0])


def test_what_happens_between_results_is_not_counted() -> None:
    time = Time()
    seconds = []
    for spent, _ in results_over_time(Slow(time), X, time):
        time.now += 1000
        seconds.append(spent)
    assert seconds == [10.0, 20.0, 30.0]
    assert [s for s, _ in results_over_time(Fast(time), X, time)] == [1.0]


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    return Deployed(str(toy.save_bundle(tmp_path / "bundle")), threads=1)


def test_a_batch_of_the_test_images_is_timed(bars: Study, deployed: Deployed) -> None:
    gan, engine = time_batch(bars.dataset, deployed, bars.options, lambda _: None)
    assert (gan["defense"], engine["defense"]) == ("defense_gan", "puvae_deployed")
    assert gan["batch"] == engine["batch"] == len(bars.dataset.test)  # fewer than 128
    assert gan["settings"]["steps"] == engine["repeats"] == 2
    assert 0 < engine["seconds_min"] <= engine["seconds"] <= engine["seconds_max"] < gan["seconds"]


def test_a_curve_has_a_point_for_every_result(bars: Study, deployed: Deployed) -> None:
    cell = Cell("bars", "A", "fgsm", False, 0.3, "puvae_ours")
    options = bars.options._replace(refine=3)
    rows = budget_curves([cell], bars.dataset, deployed, BUDGET_DEFENSES, 6, options, lambda _: None)
    assert [row["defense"] for row in rows] == list(BUDGET_DEFENSES)
    assert [len(row["curve"]) for row in rows] == [1, 2, 1, 4]
    for row in rows:
        seconds = [point["seconds"] for point in row["curve"]]
        assert seconds == sorted(seconds) and row["seconds"] == seconds[-1] and row["n"] == 6


def test_the_deployed_curve_is_the_engines_accuracy(bars: Study, deployed: Deployed) -> None:
    cell = Cell("bars", "A", "none", False, 0.0, "puvae_ours")
    (row,) = budget_curves([cell], bars.dataset, deployed, ["puvae_deployed"], 10, bars.options, lambda _: None)
    from puvae_rt.evaluation.models import Folder

    images, labels = bars.dataset.test.batch(slice(0, 10))
    with deployed.open() as engine:
        purified = torch.from_numpy(engine.purify(as_batch(images, bars.dataset.contract)).images)
    answers = Folder(bars.options.models, "bars").classifier("A")(purified).argmax(1).numpy()
    assert row["accuracy"] == (answers == labels).mean()


def test_an_engine_for_other_images_is_refused(bars: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    colour = Deployed(str(toy.save_bundle(tmp_path / "colour", toy.COLOR)), threads=1)
    with pytest.raises(ContractError, match="give its own with --bundle"):
        time_batch(bars.dataset, colour, bars.options, lambda _: None)
