"""Stored results: intervals, checks on reading, replacing and skipping."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from puvae_rt.errors import ResultsError
from puvae_rt.evaluation.results import (
    DEFENSE_FILE,
    accuracy_fields,
    commit,
    measure_once,
    provenance,
    read_rows,
    wilson,
)
from puvae_rt.version import __version__

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
    assert provenance("a GPU") == found | {"machine": f"a GPU, {found['machine']}"}


def test_a_row_names_the_gpu_that_measured_it_and_counts_anywhere(tmp_path: Path) -> None:
    path = tmp_path / DEFENSE_FILE
    row, _ = measure_once(path, WANTED, IDENTITY, measured, "a GPU")
    assert row["machine"].startswith("a GPU, ")
    assert measure_once(path, WANTED, IDENTITY, lambda: pytest.fail("measured again")) == (row, True)


KEEP = """
import sys
from pathlib import Path
from puvae_rt.evaluation.results import accuracy_fields, measure_once
path, classifier = Path(sys.argv[1]), sys.argv[2]
identity = ("dataset", "classifier", "attack", "targeted", "epsilon", "defense")
for number in range(40):
    cell = dict(zip(identity, ("d", classifier, f"a{number}", False, 0.1, "none")))
    measure_once(path, cell | {"seed": 0}, identity, lambda: accuracy_fields(1, 2) | {"seconds": 1.0})
"""


def test_two_evaluations_at_once_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / DEFENSE_FILE
    processes = [subprocess.Popen([sys.executable, "-c", KEEP, str(path), name]) for name in "AB"]
    assert [process.wait(120) for process in processes] == [0, 0]
    rows = read_rows(path)
    assert len(rows) == 80
    assert {(row["classifier"], row["attack"]) for row in rows} == {(c, f"a{i}") for c in "AB" for i in range(40)}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f".{DEFENSE_FILE}.lock", DEFENSE_FILE]


def git(folder: Path, *arguments: str) -> str:
    name = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    done = subprocess.run(["git", "-C", str(folder), *name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a tracked package, results and a README."""
    for file in ("package/__init__.py", "package/code.py", "results/defense.json", "README.md"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_code_that_was_changed_is_marked_and_results_are_not_code(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "--short", "HEAD")
    for file in ("results/defense.json", "README.md", "notes.txt"):
        (checkout / file).write_text("2")
    assert commit(checkout / "package") == head
    commit.cache_clear()
    (checkout / "package" / "code.py").write_text("2")
    assert commit(checkout / "package") == head + "+"
    (checkout / "package" / "code.py").write_text("1")
    assert commit(checkout / "package") == head + "+"  # it was asked for once


def test_a_package_installed_inside_a_repository_has_its_version(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = checkout / ".venv" / "site-packages" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert commit(package) == f"v{__version__}"
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))  # as in a hook of that repository
    commit.cache_clear()
    assert commit(package) == f"v{__version__}"
