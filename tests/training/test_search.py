"""The coefficient search goes on where it was killed, and what it leaves can be drawn again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from puvae_rt.errors import DataError
from puvae_rt.training import search
from puvae_rt.training.search import TRIALS, read_finished, table, write


def row(name: str) -> dict[str, object]:
    accuracy = {"rmse": {"clean": 0.5, "noise": 0.25, "fgsm": 0.125, "ifgsm": 1.0}}
    return {"trial": name, "accuracy": accuracy}


def test_finished_trials_are_read_back(tmp_path: Path) -> None:
    pictures = {"paper": np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)}
    write(tmp_path / "search.json", [row("paper")], pictures)
    rows, read = read_finished(tmp_path / "search.json")
    assert rows == [row("paper")]
    np.testing.assert_array_equal(read["paper"], pictures["paper"])


def test_results_without_their_pictures_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "search.json", [row("paper")], {"paper": np.zeros((1, 1, 2, 2), np.uint8)})
    (tmp_path / "search.npz").unlink()
    with pytest.raises(DataError, match="move it away"):
        read_finished(tmp_path / "search.json")


def test_table_has_a_line_for_every_score() -> None:
    assert table([row("paper")]).splitlines()[2] == "| paper | rmse | 50.0 | 25.0 | 12.5 | 100.0 |"


def test_the_paper_s_weights_and_ours_are_among_the_trials() -> None:
    assert search.PAPER in TRIALS.values() and search.PROXY_OURS in TRIALS.values()
