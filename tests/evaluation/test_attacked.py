"""Attacked images are made once, in chunks, and never mixed up."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from puvae_rt.errors import ResultsError
from puvae_rt.evaluation import attacked
from puvae_rt.evaluation.attacked import Victim, attacked_images
from puvae_rt.evaluation.cells import Cell
from puvae_rt.evaluation.models import Folder
from tests.evaluation.conftest import Study

FGSM = Cell("bars", "A", "fgsm", False, 0.3, "none")
RAND = Cell("bars", "A", "rand_fgsm", True, 0.3, "none")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacked, "CHUNK", 8)


def make(bars: Study, cell: Cell, count: int, digest: str = "d", seed: int = 0) -> Tensor:
    victim = Victim(Folder(bars.options.models, "bars").classifier("A"), digest)
    return attacked_images(cell, count, bars.dataset.test, 5, 0.05, victim, seed, bars.options.models)


@pytest.mark.parametrize("cell", [FGSM, RAND], ids=["fgsm", "rand_fgsm targeted"])
def test_the_first_images_are_the_same_whatever_the_count(bars: Study, cell: Cell) -> None:
    few = make(bars, cell, 5)
    many = make(bars, cell, 20)
    fresh = make(bars, cell, 20, digest="other")
    assert torch.equal(few, many[:5]) and torch.equal(many, fresh)
    clean = torch.from_numpy(bars.dataset.test.batch(slice(0, 20))[0])
    assert 0 < (many - clean).abs().max() <= 0.3 + 1e-6


def test_no_attack_gives_the_test_images(bars: Study) -> None:
    cell = Cell("bars", "A", "none", False, 0.0, "none")
    assert torch.equal(make(bars, cell, 3), torch.from_numpy(bars.dataset.test.batch(slice(0, 3))[0]))


def test_an_attack_that_is_killed_goes_on_behind_its_last_chunk(bars: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(bars, RAND, 20, digest="whole")
    plain, made = attacked._attack, []

    def counted(*given: object) -> Tensor:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(given)
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(attacked, "_attack", counted)
    with pytest.raises(KeyboardInterrupt):
        make(bars, RAND, 20)
    made[:] = [None]  # one more chunk may be made: the third
    assert torch.equal(make(bars, RAND, 20), whole)
    assert len(made) == 2


def test_stored_images_are_taken_for_the_same_attack_weights_and_seed_only(
    bars: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(bars, RAND, 8)
    monkeypatch.setattr(attacked, "_attack", lambda *_: torch.zeros(8, 1, 28, 28))
    assert torch.equal(make(bars, RAND, 8), first)
    for other in ({"digest": "e"}, {"seed": 1}, {"cell": FGSM}):
        assert not make(bars, **{"cell": RAND, "count": 8} | other).any()  # type: ignore[arg-type]


def test_a_damaged_file_is_refused(bars: Study) -> None:
    make(bars, FGSM, 8)
    (path,) = (bars.models / attacked.FOLDER).iterdir()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ResultsError, match="delete it"):
        make(bars, FGSM, 8)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ResultsError, match=r"is a FIFO.*delete it"):
        make(bars, FGSM, 8)
