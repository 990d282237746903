"""The plan of the GPU day, and what runs it, with stages of a second in place of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from puvae_rt.cli import command as commands
from tests.gpu_day import plan, run
from tests.gpu_day.__main__ import main, parser
from tests.gpu_day.plan import FAILED, NOT_REACHED, PASSED, SKIPPED, TIMED_OUT, Stage
from tests.gpu_day.stage import Day
from tests.gpu_day.stages import training

TELL = "import json, sys; json.dump({'told': 1}, open(sys.argv[1], 'w'));"
CODE = {
    "good": TELL,
    "bad": f"{TELL} print('why'); raise SystemExit(3)",
    "slow": f"{TELL} import time; time.sleep(60)",
    "absent": f"{TELL} raise SystemExit({plan.SKIP_CODE})",
}


def test_the_stages_fit_one_call() -> None:
    assert sum(stage.seconds for stage in plan.STAGES) <= plan.BUDGET <= 540
    for stage in plan.STAGES:
        assert importlib.util.find_spec(f"tests.gpu_day.stages.{stage.module}") is not None
    assert len(plan.BY_NAME) == len(plan.STAGES)


def test_the_page_tells_every_stage_with_its_seconds() -> None:
    page = (plan.ROOT / "docs/howto/gpu_day.md").read_text()
    for stage in plan.STAGES:
        if stage.name not in plan.SANITIZERS:
            assert f"| `{stage.name}` | {stage.seconds} |" in page
    assert "| `memcheck`, `racecheck`, `synccheck`, `initcheck` | 25 each |" in page


@pytest.mark.parametrize("each", plan.QUEUE, ids=lambda each: each.name)
def test_the_trainings_are_commands(each: plan.Training) -> None:
    command = training.command_of(each, Path("data.npz"), Path("runs"), "cuda")
    assert command[1:3] == ["-m", "puvae_rt"]
    asked = commands.load(command[3]).parser().parse_args(command[4:])
    assert asked.device == "cuda" and asked.dataset == each.dataset


class Trial(run.Run):
    """Stages are a line of Python each."""

    def _command(self, stage: Stage, found: Path, limit: float) -> list[str]:
        return [sys.executable, "-c", CODE[stage.name], str(found)]


def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *stages: Stage, budget: float = 30) -> Trial:
    monkeypatch.setattr(run, "STAGES", stages)
    carried = tmp_path / "carried"
    carried.mkdir(exist_ok=True)
    (carried / plan.PREPARED_FILE).write_text(json.dumps({"models": ["mnist"], "commit": "abc"}))
    return Trial(tmp_path / "out", tmp_path / "work", plan.EMULATED, carried=carried, budget=budget)


def stage(name: str, seconds: int = 1, **more: object) -> Stage:
    return Stage(name, seconds, "a trial", **more)  # type: ignore[arg-type]


def statuses(tmp_path: Path) -> dict[str, str]:
    stored = json.loads((tmp_path / "out" / plan.RESULTS_FILE).read_text())["stages"]
    return {name: row["status"] for name, row in stored.items()}


def test_no_stage_stops_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = (stage("bad"), stage("slow"), stage("absent"), stage("good"), stage("missing", under=("no-such-tool",)))
    made = trial(tmp_path, monkeypatch, *stages)
    made.budget = 6 + (time.monotonic() - made.started)  # a second for each, and another for the slow one
    assert not made([each.name for each in stages])
    expected = {"bad": FAILED, "slow": TIMED_OUT, "absent": SKIPPED, "good": PASSED, "missing": SKIPPED}
    assert statuses(tmp_path) == expected
    rows = json.loads((tmp_path / "out" / plan.RESULTS_FILE).read_text())["stages"]
    assert "why" in rows["bad"]["output"] and rows["bad"]["code"] == 3
    assert rows["slow"]["found"] == {"told": 1}, "what it had found by then"
    assert rows["missing"]["found"] == {"skipped": "no no-such-tool here"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {plan.RESULTS_FILE, plan.LOGS_FILE}


def test_what_passed_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trial(tmp_path, monkeypatch, stage("good"))(["good"])
    monkeypatch.setitem(CODE, "good", CODE["bad"])
    assert trial(tmp_path, monkeypatch, stage("good"))(["good"])
    (tmp_path / "out" / plan.RESULTS_FILE).unlink()  # the folder is emptied between calls
    assert trial(tmp_path, monkeypatch, stage("good"))(["good"])
    shutil.rmtree(tmp_path / "work")  # another machine
    (tmp_path / "out" / plan.RESULTS_FILE).rename(tmp_path / "carried" / plan.DONE_FILE)  # as `fold` does
    assert trial(tmp_path, monkeypatch, stage("good"))(["good"])
    assert not trial(tmp_path, monkeypatch, stage("good"))(["good"], again=True)


def test_without_time_a_stage_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not trial(tmp_path, monkeypatch, stage("good"), budget=0.5)(["good"])
    assert statuses(tmp_path) == {"good": NOT_REACHED}


def test_nothing_prepared_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"not prepared; run `python -m tests\.gpu_day prepare` first"):
        main(["run", "--out", str(tmp_path / "out"), "--carried", str(tmp_path), "--work", str(tmp_path / "work")])


def test_a_strangers_package_of_the_same_name_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("raise ImportError('a stranger')")
    (tmp_path / "carried").mkdir()
    (tmp_path / "carried" / plan.PREPARED_FILE).write_text(json.dumps({"models": ["mnist"]}))
    folders = [f"--{name}={tmp_path / name}" for name in ("carried", "work", "out")]
    command = [sys.executable, "tests/gpu_day", "run", "--device", plan.EMULATED, "--only", "training", *folders]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run(command, cwd=plan.ROOT, env=environment, check=True, capture_output=True)
    assert statuses(tmp_path) == {"training": SKIPPED}


def test_findings_are_strict_json_from_the_first_on(tmp_path: Path) -> None:
    day = Day(plan.EMULATED, ("mnist",), tmp_path, tmp_path, tmp_path / "found.json")
    day.tell("a", "b", value=float("nan"))
    day.tell("a", "c", value=[float("inf"), tmp_path])
    text = day.file.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": {"b": "NaN", "c": ["Infinity", str(tmp_path)]}}


def test_only_wheels_of_missing_packages_are_unpacked(tmp_path: Path) -> None:
    for package in ("json", "no_such_package"):
        with zipfile.ZipFile(tmp_path / f"{package}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{package}/__init__.py", "")
            wheel.writestr(f"{package}-1.dist-info/METADATA", "")
    run.unpack_missing(sorted(tmp_path.glob("*.whl")), tmp_path / "site")
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == [
        "no_such_package",
        "no_such_package-1.dist-info",
    ]


def test_what_was_trained_comes_back_in_parts_and_goes_on(tmp_path: Path) -> None:
    runs = tmp_path / "there" / "runs"
    (runs / "mnist").mkdir(parents=True)
    (runs / "mnist" / "a.safetensors").write_bytes(bytes(range(256)) * 40)
    (runs / "mnist" / "note.txt").write_text("not brought back")
    (runs / "mnist" / "a.checkpoint.safetensors").write_bytes(bytes(20_000))
    assert training.pack(runs, tmp_path / plan.TRAINED, room=20_000) == ["runs/mnist/a.checkpoint.safetensors"]
    assert run.split(tmp_path / plan.TRAINED, tmp_path, most=1, size=100) == []
    parts = run.split(tmp_path / plan.TRAINED, tmp_path, most=100, size=100)
    assert len(parts) > 1
    training.restore(tmp_path, tmp_path / "here")
    (restored,) = (path for path in (tmp_path / "here" / "runs").rglob("*") if path.is_file())
    assert restored.read_bytes() == (runs / "mnist" / "a.safetensors").read_bytes()


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("prepare", "run", "fold"):
        with pytest.raises(SystemExit):
            parser().parse_args([command, "--help"])
        assert "default" in capsys.readouterr().out
