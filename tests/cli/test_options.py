"""Options as a dataclass; `--json [PATH]`; old spellings."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome, check_json, json_settled, load, run_command
from puvae_rt.cli.options import READ, SEALED, WRITTEN, add_options, option, paths_of, read_options
from puvae_rt.cli.registry import COMMANDS
from puvae_rt.errors import ContractError, QualityError


@dataclass(frozen=True)
class Options:
    bundle: Path = option(help="folder of a bundle", positional=True, role=SEALED)
    weights: Path = option(help="weights to read", old=("--puvae",), role=READ)
    images: int = option(7, help="number of images", least=1, most=9, old=("--n",))
    rate: float = option(0.5, help="rate of something", above=0)
    letters: tuple[str, ...] = option(
        ("A",), help="letters of models", choices=("A", "B"), none=True, old=("--target",)
    )
    ranks: tuple[int, int] | None = option(None, help="ranks of layers", least=1, default_text="dense")
    out: Path | None = option(None, help="file to write", group="place", role=WRITTEN)
    dry: bool = option(False, help="write nothing", group="place", old=("--no-write",))
    report: Path | None = option(None, help="file of a report", instead="--json PATH")


def parsed(*words: str) -> Options:
    parser = argparse.ArgumentParser()
    add_options(parser, Options)
    return read_options(parser, Options, parser.parse_args(list(words)))


def test_defaults_types_and_several_values() -> None:
    assert parsed("b", "--weights", "w") == Options(Path("b"), Path("w"))
    full = parsed("b", "--weights", "w", "--images", "9", "--letters", "A", "B", "--ranks", "1", "2", "--dry")
    assert full == Options(Path("b"), Path("w"), 9, 0.5, ("A", "B"), (1, 2), None, True)
    assert parsed("b", "--weights", "w", "--letters").letters == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--images", "0"], "--images 0: expected at least 1"),
        (["--images", "10"], "--images 10: expected at most 9"),
        (["--rate", "0"], "--rate 0: expected a finite number above 0"),
        (["--rate", "nan"], "--rate nan"),
        (["--rate", "inf"], "--rate inf"),
        (["--ranks", "0", "2"], "--ranks 0"),
    ],
)
def test_ranges(words: list[str], told: str) -> None:
    with pytest.raises(ContractError, match=told):
        parsed("b", "--weights", "w", *words)


@pytest.mark.parametrize("words", [[], ["--letters", "C"], ["--weights", "w", "--out", "o", "--dry"]], ids=" ".join)
def test_wrong_use_is_argparses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parsed("b", *words)
    assert stopped.value.code == 2
    assert words or "the following arguments are required: --weights" in capsys.readouterr().err


def test_help_has_default_and_range_and_hides_what_is_old() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Options)
    told = " ".join(parser.format_help().split())
    assert "number of images (1 to 9; default: 7)" in told and "ranks of layers (at least 1; default: dense)" in told
    assert "--puvae" not in told and "--report" not in told


def test_old_spellings_work_and_warn(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["b", "--puvae", "w", "--n", "3", "--target", "B", "--no-write", "--report", "r"]
    assert parsed(*words) == Options(Path("b"), Path("w"), 3, 0.5, ("B",), None, None, True, Path("r"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: --puvae is now --weights; the old spelling goes in 0.3"
    assert len(lines) == 5 and "--report is now --json PATH" in lines[-1]


def test_paths_by_role() -> None:
    options = parsed("b", "--weights", "w", "--out", "o")
    assert paths_of(options, READ) == {"--weights": Path("w")}
    assert (paths_of(options, WRITTEN), paths_of(options, SEALED)) == ({"--out": Path("o")}, {"BUNDLE": Path("b")})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_old_spelling_of_a_command_is_taken(name: str) -> None:
    """None stands for two flags of one command, and none is a flag that is still there."""
    parser = load(name).parser()
    strings = [string for action in parser._actions for string in action.option_strings]
    assert len(strings) == len(set(strings))


@pytest.mark.parametrize(
    ("words", "takes_words", "settled"),
    [
        (["--json"], False, ["--json=-"]),
        (["--json", "out/x"], False, ["--json=out/x"]),
        (["--json", "-"], True, ["--json=-"]),
        (["--json", "bundle"], True, ["--json=-", "bundle"]),
        (["--json", "x.json", "bundle"], True, ["--json=x.json", "bundle"]),
        (["bundle", "--json"], True, ["bundle", "--json=-"]),
        (["--json=bundle", "x"], True, ["--json=bundle", "x"]),
        (["--json", "--seed", "1"], False, ["--json=-", "--seed", "1"]),
        (["--", "--json", "x.json"], True, ["--", "--json", "x.json"]),
    ],
    ids=str,
)
def test_the_word_behind_json(words: list[str], takes_words: bool, settled: list[str]) -> None:
    assert json_settled(words, takes_words) == settled


def test_a_json_path_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (str(tmp_path), "", str(tmp_path / "file" / "x.json")):
        with pytest.raises(ContractError, match="--json"):
            check_json(path)
    check_json(str(tmp_path / "new" / "folder" / "x.json"))
    check_json("-")


def test_where_a_result_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Outcome({"a": 1}, "the table")
    assert run_command(lambda: found) == 0
    assert capsys.readouterr().out == "the table\n"
    assert run_command(lambda: found, "-") == 0
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    assert run_command(lambda: found, str(tmp_path / "new" / "x.json")) == 0
    assert capsys.readouterr().out == "the table\n" and json.loads((tmp_path / "new/x.json").read_text()) == {"a": 1}


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> Outcome:
        raise QualityError("too blurred")

    assert run_command(lambda: Outcome({}, "", passed=False)) == 1
    assert run_command(lambda: Outcome({}, "half of it", error="the camera went away")) == 2
    assert run_command(refuse) == 2 and run_command(refuse, checks=(QualityError,)) == 1
    printed = capsys.readouterr()
    assert "half of it" in printed.out and printed.err.startswith("error: the camera went away\nerror: too blurred\n")


def test_a_signal_is_told_with_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> Outcome:
        raise KeyboardInterrupt

    assert run_command(stop, hint="nothing was written") == 130
    assert capsys.readouterr().err == "interrupted: nothing was written\n"


@pytest.mark.parametrize("command", ["demo video", "demo make-clip", "evaluate", "search"])
@pytest.mark.parametrize(
    ("seed", "told"), [("-1", "expected at least 0"), (str(1 << 64), "expected at most 1e+12")], ids=["below", "above"]
)
def test_a_seed_out_of_range_is_refused(command: str, seed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(command).run(["--seed", seed]) == 2
    assert f"--seed {seed}: {told}" in capsys.readouterr().err


def test_the_largest_seed_is_one_to_pytorch() -> None:
    torch = pytest.importorskip("torch")
    torch.Generator().manual_seed(shared.MAX_SEED * 1_000_003 + 1000)  # as a training's epoch does


@pytest.mark.parametrize("command", ["bench", "demo video"])
def test_a_number_of_threads_that_is_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for threads, told in (("0", "at least 1"), ("4096", "at most 1024")):
        assert load(command).run(["--threads", threads]) == 2
        assert f"--threads {threads}: expected {told}" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        load(command).run(["--threads", "many"])
    assert "expected a whole number, or auto" in capsys.readouterr().err


def test_a_radius_that_is_no_number_is_refused_without_an_attack(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("demo video").run(["--epsilon", "nan"]) == 2
    assert "--epsilon nan: expected a finite number" in capsys.readouterr().err


def test_a_number_just_out_of_range_is_told_with_all_its_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("demo video").run(["--seed", "-12345678"]) == 2
    assert "--seed -12345678: expected" in capsys.readouterr().err
