"""What every command does when a file or a disk refuses: one line, exit code 2, no traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from puvae_rt import evaluate, train_baselines
from puvae_rt.cli.command import Outcome, run_command
from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation import baselines
from puvae_rt.training.checkpoint import save_tensors
from tests.export import shipped

EXPECTED = "expected a path that can be read and written, and room on its disk"
Main = Callable[[Sequence[str]], int]


def commands(folder: Path) -> list[tuple[Main, list[str]]]:
    """Each is to write below a path that is a file."""
    data, file = shipped.dataset(folder / "toy.npz"), folder / "file"
    file.write_text("kept")
    shipped.save_classifier(folder / "adv_training_a.safetensors", shipped.toy_weights(), "A")
    toy = ["--dataset", "toy", "--data", str(data)]
    return [
        (train_baselines.main, [*toy, "--baseline", "magnet", "--runs", str(file)]),
        (evaluate.main, ["--tables", "--results", str(file)]),
        (baselines.main, ["--dataset", folder.name, "--runs", str(folder.parent), "--baselines", str(file)]),
    ]


@pytest.mark.parametrize("index", range(3), ids=["train_baselines", "evaluate", "baselines"])
def test_a_folder_that_is_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], index: int) -> None:
    main, arguments = commands(tmp_path)[index]
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and str(tmp_path / "file") in error
    assert "expected a folder to write into" in error or EXPECTED in error
    assert (tmp_path / "file").read_text() == "kept"


def raising(error: OSError) -> Callable[[], Outcome]:
    def work() -> Outcome:
        raise error

    return work


def test_a_full_disk_is_told_and_other_faults_are_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert run_command(raising(full)) == 2
    assert EXPECTED in capsys.readouterr().err
    with pytest.raises(ConnectionResetError):
        run_command(raising(ConnectionResetError(errno.ECONNRESET, "reset")))


def test_weights_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.write_bytes(b"before")
    (tmp_path / "folder.safetensors").mkdir()
    for path in (tmp_path / "folder.safetensors", before / "w.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{path.name}: not written \(.*; make room, or give a path"):
            save_tensors(path, {"x": torch.zeros(2)}, {})
    assert before.read_bytes() == b"before"
