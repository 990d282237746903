"""`puvae`: finds its commands, is quick to help, and means one thing by each flag."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import puvae_rt
from puvae_rt.cli.command import load
from puvae_rt.cli.main import main
from puvae_rt.cli.options import flag_name, flags_of
from puvae_rt.cli.reference import manual
from puvae_rt.cli.registry import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "onnxruntime", "onnx", "cv2", "matplotlib", "tensorrt", "tensorrt_rtx", "cuda")
# Runs a module's --help and says on stderr what of HEAVY it imported.
WATCH = f"""
import runpy, sys
module, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
finally:
    sys.stderr.write("heavy: " + " ".join(m for m in {HEAVY!r} if m in sys.modules))
"""
MODULES = sorted(entry.python_m for entry in COMMANDS.values() if entry.python_m)


def run(*command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=120, cwd=cwd, env=environ, check=False
    )


@pytest.mark.parametrize("words", [name.split() for name in COMMANDS] + [[]], ids=" ".join)
def test_help_needs_nothing_heavy(words: list[str]) -> None:
    done = run("-c", WATCH, "puvae_rt", *words, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: puvae")
    assert done.stderr == "heavy: "


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_its_command_and_helps_as_fast(module: str) -> None:
    done = run("-c", WATCH, module, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    assert done.stderr == "heavy: "


def test_python_m_is_named_in_the_usage() -> None:
    assert run("-m", "export.build", "--help").stdout.startswith("usage: python -m export.build")
    assert run("-m", "puvae_rt.bench", "--help").stdout.startswith("usage: python -m puvae_rt.bench")


@pytest.mark.parametrize("module", [entry.python_m for entry in COMMANDS.values() if entry.python_m])
def test_modules_keep_their_main_and_parser(module: str) -> None:
    command = importlib.import_module(
        module if module not in ("puvae_rt.bench", "puvae_rt.doctor") else f"{module}.command"
    )
    assert command.parser().prog.startswith("puvae ")
    with pytest.raises(SystemExit) as left:
        command.main(["--help"])
    assert left.value.code == 0


def test_a_strangers_export_is_not_taken(tmp_path: Path) -> None:
    for name in ("export", "calib", "demos"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger ran')\n")
    for words in (["build", "--help"], ["pack", "--help"], ["low-rank", "--help"]):
        done = run("-m", "puvae_rt", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"puvae {puvae_rt.__version__}\n"


def test_every_command_is_listed_and_helped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert f"  {name} " in overview and entry.summary in overview
        with pytest.raises(SystemExit):
            main(["help", *name.split()])
        told = capsys.readouterr().out
        assert "exit codes: 0" in told and "130" in told and "143" in told


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["bild"], "did you mean 'build'?"),
        (
            ["demo"],
            "expected one more word: `puvae demo video` or `puvae demo camera` or `puvae demo web` or `puvae demo",
        ),
        (["demo", "vidoe"], "did you mean 'demo video'?"),
        (["completion", "tcsh"], "expected one of bash, zsh, fish"),
        (["completion"], "got nothing"),
        (["\udcff"], "no command"),
        ([], "usage: puvae"),
    ],
)
def test_wrong_commands(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert told in printed.err and not printed.out


def test_a_flag_means_one_thing_everywhere() -> None:
    """Flags of several commands agree in type and, behind their first words, in what they are."""
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    olds: dict[str, list[str]] = defaultdict(list)
    for name in COMMANDS:
        for field, flag in flags_of(load(name).module.Options).items():
            if flag.instead is None and not flag.positional:
                kinds[flag_name(field)][name] = str(field.type).replace(" | None", "")
            for old in (*flag.old, *([flag_name(field)] if flag.instead else [])):
                olds[old].append(name)
    from puvae_rt.cli.vocabulary import FLAGS

    for flag, commands in kinds.items():
        if len(commands) > 1:
            assert flag in FLAGS, f"{flag} of {', '.join(commands)} is not in the vocabulary"
            allowed = FLAGS[flag].types
            assert set(commands.values()) <= set(allowed), f"{flag}: {commands}"
    assert all(len(kinds[flag]) > 1 or flag in ("--json",) for flag in FLAGS), "a flag of one command needs no entry"


def test_every_help_begins_with_what_the_option_is() -> None:
    for name in COMMANDS:
        for field, flag in flags_of(load(name).module.Options).items():
            first = flag.help.split()[0]
            assert len(flag.help.split()) > 1, f"{name} {field.name}: {flag.help!r}"
            assert first not in ("of", "for", "in", "by", "(default:"), f"{name} {field.name}: {flag.help!r}"


def test_the_manual_is_what_the_commands_say() -> None:
    stored = (ROOT / "docs/commands.md").read_text("utf-8")
    assert stored == manual(), "run: python -m puvae_rt.cli.reference > docs/commands.md"


def complete(*words: str) -> list[str]:
    """What bash would offer for the last word."""
    script = (
        'eval "$COMPLETION"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        "$(complete -p puvae | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    completion = run("-m", "puvae_rt", "completion", "bash")
    assert completion.returncode == 0, completion.stderr
    done = subprocess.run(
        ["bash", "-c", script, "bash", "puvae", *words],
        env={**os.environ, "COMPLETION": completion.stdout},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("b",), ["build", "bench"]),
        (("demo", ""), ["video", "camera", "web", "driving", "make-clip"]),
        (("build", "--prec"), ["--precision"]),
        (("build", "--precision", ""), ["fp32", "fp16"]),
        (("build", "--precision", "fp1"), ["fp16"]),
        (("evaluate", "--attack", "fgsm", "c"), ["cw"]),
        (("demo", "video", "--attack", "if"), ["ifgsm"]),
        (("train", "--tar"), []),  # an old spelling
        (("help", "low"), ["low-rank"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("build", "--out", ""), []),  # files, which bash adds itself
    ],
)
def test_bash_completes(words: tuple[str, ...], offered: list[str]) -> None:
    assert complete(*words) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_completion(shell: str) -> None:
    done = run("-m", "puvae_rt", "completion", shell)
    assert done.returncode == 0 and "evaluate" in done.stdout
    if (path := shutil.which(shell)) is not None:
        assert subprocess.run([path, "-n"], input=done.stdout, text=True, check=False).returncode == 0
