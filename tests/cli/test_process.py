"""A command as a process: signals, closed and full streams, names that cannot be printed. One line, the right code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SLOW = "import time\ntime.sleep(60)\n"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PUVAE_CACHE": str(tmp_path / "cache"), "PYTHONUNBUFFERED": ""}


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(environment: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """What is printed is written at the end, or piece by piece."""
    return environment | {"PYTHONUNBUFFERED": request.param}


def puvae(*words: str) -> list[str]:
    return [sys.executable, "-m", "puvae_rt", *words]


def shell(script: str, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """`script` in bash, where "$@" is `puvae` with these words."""
    command = ["bash", "-c", script, "bash", *puvae(*words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def clean(errors: str) -> bool:
    return not any(word in errors for word in ("Traceback", "Exception ignored", "Error:"))


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ('"$@" > /dev/full', 2, "error: standard output: No space left on device"),
        ('"$@" >&-', 2, "error: standard output: Bad file descriptor"),
        ('"$@" | true; exit ${PIPESTATUS[0]}', 0, ""),
        ('"$@" 2>&- | grep -q .; exit ${PIPESTATUS[0]}', 0, ""),
        ('"$@" >/dev/full 2>/dev/full', 2, ""),
        ('"$@" <&- >&- 2>&-', 2, ""),
        ('"$@" --json=/dev/full', 2, "/dev/full"),
    ],
    ids=["full", "closed", "no reader", "stderr closed", "both full", "all closed", "JSON to a full disk"],
)
def test_standard_output_is_gone(script: str, code: int, told: str, buffering: dict[str, str]) -> None:
    for words in (("models",), ("models", "--json")) if "json" not in script else (("models",),):
        done = shell(script, buffering, *words)
        assert done.returncode == code, done.stderr
        assert told in done.stderr and clean(done.stderr) and done.stderr.count("\n") <= 1


@pytest.mark.parametrize(
    "words", [("--help",), ("train", "--help"), ("completion", "bash"), ("--version",)], ids=" ".join
)
def test_help_into_a_pipe_that_closes(words: tuple[str, ...], buffering: dict[str, str]) -> None:
    for reader in ("head -1", "true"):
        done = shell(f'"$@" | {reader}; exit ${{PIPESTATUS[0]}}', buffering, *words)
        assert done.returncode == 0 and not done.stderr
    done = shell('"$@" >/dev/full', buffering, *words)
    assert done.returncode == 2 and done.stderr.startswith("error: standard output: ") and done.stderr.count("\n") == 1


def test_a_closed_standard_error_does_not_print_into_the_result(environment: dict[str, str]) -> None:
    done = shell('"$@" 2>&-', environment, "verify", "absent")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_names_that_cannot_be_printed(locale: str, environment: dict[str, str], tmp_path: Path) -> None:
    plain = environment | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name in ("ö".encode(), b"\xff", "日本".encode()):
        command = [*map(os.fsencode, puvae("verify")), os.fsencode(tmp_path) + b"/" + name]
        done = subprocess.run(command, capture_output=True, env=plain, timeout=60, check=False)
        errors = done.stderr.decode()
        assert done.returncode == 2 and errors.startswith("error: ") and clean(errors), errors


def stopped(
    command: list[str], environment: dict[str, str], ready: Callable[[str], bool], number: int
) -> tuple[int, str]:
    """Exit code and standard error of a command that gets a signal when `ready`, told of its standard error so far."""
    with tempfile.TemporaryFile("w+") as errors:

        def told() -> str:
            errors.seek(0)
            return errors.read()

        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        try:
            while not ready(told()):
                assert process.poll() is None, told()
                time.sleep(0.05)
            process.send_signal(number)
            return process.wait(60), told()
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
    ids=["Ctrl-C", "terminate", "hang up"],
)
def test_stopped_while_torch_is_imported(
    number: int, code: int, word: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'started')!r}, 'w').close()\n{SLOW}")
    slow = environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    places = ["--runs", str(tmp_path / "runs")]
    got, errors = stopped(puvae("train", *places), slow, lambda _: (tmp_path / "started").exists(), number)
    assert got == code and errors.startswith(word) and errors.count("\n") == 1 and clean(errors)


def test_what_follows_a_signal_is_its_consequence(environment: dict[str, str], tmp_path: Path) -> None:
    """An import that was broken off is an ImportError to many a library."""
    swallow = "try:\n    time.sleep(60)\nexcept BaseException:\n    raise ImportError('no torch')\n"
    (tmp_path / "torch.py").write_text(f"import time\nopen({str(tmp_path / 'started')!r}, 'w').close()\n{swallow}")
    slow = environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = puvae("train", "--runs", str(tmp_path / "runs"))
    got, errors = stopped(command, slow, lambda _: (tmp_path / "started").exists(), signal.SIGTERM)
    assert got == 143 and errors.startswith("terminated: run the same command again") and clean(errors)


def test_a_signal_in_a_destructor_is_not_lost(environment: dict[str, str], tmp_path: Path) -> None:
    started = f"open({str(tmp_path / 'started')!r}, 'w').close()"
    (tmp_path / "torch.py").write_text(
        f"import time\nclass Slow:\n    def __del__(self):\n        {started}; time.sleep(60)\nSlow()\ntime.sleep(60)\n"
    )
    slow = environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = puvae("train", "--runs", str(tmp_path / "runs"))
    got, errors = stopped(command, slow, lambda _: (tmp_path / "started").exists(), signal.SIGTERM)
    assert got == 143 and errors.startswith("terminated") and clean(errors)


def test_ignored_signals_stay_ignored(environment: dict[str, str]) -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from puvae_rt.cli import signals;"
        "signals.install(); os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=["terminate", "hang up", "Ctrl-C"]
)
def test_a_stopped_build_leaves_nothing(number: int, environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = puvae("build", "--model", "mnist", "--no-verify", "--out", str(out))
    got, errors = stopped(command, environment, lambda _: out.is_dir() and any(out.iterdir()), number)
    assert got == 128 + number and "no bundle was written or replaced" in errors and clean(errors)
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["terminate", "Ctrl-C"])
def test_a_stopped_training_is_kept_and_says_how_to_go_on(
    number: int, environment: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = {f"x_{part}": rng.integers(0, 256, (400, 28, 28), np.uint8) for part in ("train", "test")}
    labels = {f"y_{part}": np.arange(400) % 2 for part in ("train", "test")}
    np.savez(tmp_path / "own.npz", **arrays, **labels)
    runs = tmp_path / "runs"
    places = ["--dataset", "own", "--data", str(tmp_path / "own.npz"), "--runs", str(runs)]
    command = puvae("train", *places, "--classifiers", "A", "--mini-batch", "8", "--classifier-epochs", "2000")
    under_way = re.compile(r"source: .* [1-9]\d*/\d+ \[")  # its first step is done
    got, errors = stopped(command, environment, lambda told: bool(under_way.search(told)), number)
    assert got == 128 + number and clean(errors)
    assert "run the same command again to go on from the last checkpoint" in errors
    assert (runs / "own" / "source.checkpoint.safetensors").is_file()


@pytest.mark.parametrize("module", ["puvae_rt.cli.entry", "puvae_rt.cli.signals", "puvae_rt.cli.streams"])
def test_ctrl_c_while_the_command_is_still_being_imported(module: str, environment: dict[str, str]) -> None:
    script = (
        "import runpy, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "sys.argv = ['puvae', 'models']\n"
        "runpy.run_module('puvae_rt', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
