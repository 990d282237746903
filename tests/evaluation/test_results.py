"""Stored results: intervals, checks on reading, replacing and skipping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from puvae_rt.errors import ResultsError
from puvae_rt.evaluation.results import DEFENSE_FILE, accuracy_fields, measure_once, provenance, read_rows, wilson

ROW = {
    "dataset": "mnist",
    "classifier": "A",
    "attack": "fgsm",
    "targeted": True,
    "epsilon": 0.3,
    "defense": "puvae_ours",
    "n": 1000,
    "accuracy": 0.9,
    "ci_low": 0.88,
    "ci_high": 0.92,
    "seed": 0,
    "seconds": 1.5,
    "machine": "a processor",
    "commit": "abc",
    "evidence": "measured",
}


def save(folder: Path, rows: object) -> Path:
    path = folder / DEFENSE_FILE
    path.write_text(json.dumps({"results": rows}))
    return path


@pytest.mark.parametrize(  # R: binom.confint(hits, n, method="wilson")
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (5, 10, 0.23659, 0.76341), (10, 10, 0.72247, 1.0), (900, 1000, 0.87986, 0.91710)],
)
def test_wilson_intervals(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-4)


def test_rows_come_back_as_they_were_written_and_a_bound_may_be_null(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"attack": "cw", "epsilon": None}]
    assert read_rows(save(tmp_path, rows)) == rows
    assert read_rows(tmp_path / "none" / DEFENSE_FILE) == []


@pytest.mark.parametrize("field", ROW)
def test_a_missing_field_is_named(field: str, tmp_path: Path) -> None:
    rows = [ROW, {k: v for k, v in ROW.items() if k != field}]
    with pytest.raises(
        ResultsError, match=rf"defense.json: results\[1\]: {field}: got nothing, expected .*; measure it again"
    ):
        read_rows(save(tmp_path, rows))


@pytest.mark.parametrize(
    "change",
    [{"epsilon": 1.5}, {"epsilon": -0.1}, {"epsilon": "0.3"}, {"accuracy": 90.0}, {"n": 0}, {"targeted": "yes"}],
    ids=str,
)
def test_a_field_out_of_range_is_named(change: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=next(iter(change))):
        read_rows(save(tmp_path, [ROW | change]))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"results": {}}', '{"results": [3]}', "null"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / DEFENSE_FILE
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"defense\.json"):
        read_rows(path)


IDENTITY = ("dataset", "classifier", "attack", "targeted", "epsilon", "defense")
WANTED = {k: ROW[k] for k in (*IDENTITY, "n", "seed")} | {"settings": {"steps": (1, 2)}}


def measured() -> dict[str, object]:
    return accuracy_fields(900, 1000) | {"seconds": 1.0}


def test_a_measured_row_is_kept_and_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "results" / DEFENSE_FILE
    row, stored = measure_once(path, WANTED, IDENTITY, measured)
    assert not stored and row["accuracy"] == 0.9 and row["evidence"] == "measured"
    again, stored = measure_once(path, WANTED, IDENTITY, lambda: pytest.fail("measured again"))
    assert stored and again["ci_low"] == row["ci_low"]


@pytest.mark.parametrize("change", [{"n": 10}, {"seed": 1}, {"settings": {"steps": (2, 2)}}], ids=str)
def test_another_measurement_of_the_same_cell_takes_its_place(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / DEFENSE_FILE
    measure_once(path, WANTED, IDENTITY, measured)
    measure_once(path, WANTED | {"attack": "ifgsm"}, IDENTITY, measured)
    _, stored = measure_once(path, WANTED | change, IDENTITY, measured)
    assert not stored
    assert [row["attack"] for row in read_rows(path)] == ["ifgsm", "fgsm"]


def test_a_failing_measurement_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / DEFENSE_FILE
    measure_once(path, WANTED, IDENTITY, measured)
    before = path.read_bytes()

    def killed() -> dict[str, object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_once(path, WANTED | {"attack": "cw", "epsilon": None}, IDENTITY, killed)
    assert path.read_bytes() == before


def test_provenance_names_the_code_and_the_machine() -> None:
    found = provenance()
    assert found["evidence"] == "measured" and found["commit"] and "CPUs" in found["machine"]
