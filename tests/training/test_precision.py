"""The number format of a training: asked for, kept by one that goes on, or measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from puvae_rt.cli.shared import take_precision
from puvae_rt.errors import CheckpointError
from puvae_rt.runtime import machine
from puvae_rt.training import precision
from puvae_rt.training.checkpoint import save_tensors
from puvae_rt.training.plan import Stage
from puvae_rt.training.precision import in_precision, speedup
from puvae_rt.training.recipes import Schedule

FP32, BF16 = Schedule(epochs=1), Schedule(epochs=1, bf16=True)


@pytest.fixture(params=[0.5, 2.0])
def ratio(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """What the measurement finds."""
    found = float(request.param)
    monkeypatch.setattr(precision, "speedup", lambda kind: found)
    return found


def write(path: Path, meta: dict[str, object]) -> None:
    save_tensors(path, {"weight": torch.zeros(1)}, meta)


def test_a_new_training_takes_the_faster_format(tmp_path: Path, ratio: float) -> None:
    assert in_precision(FP32, Stage(tmp_path, "prior"), "auto").bf16 is (ratio > 1)
    assert in_precision(FP32, Stage(tmp_path, "prior"), "bf16") == BF16
    assert in_precision(BF16, Stage(tmp_path, "prior"), "fp32") == FP32


@pytest.mark.parametrize("bf16", [False, True])
def test_a_training_goes_on_in_the_format_it_began_in(tmp_path: Path, ratio: float, bf16: bool) -> None:
    stage, schedule = Stage(tmp_path, "prior"), Schedule(epochs=1, bf16=bf16).record()
    write(stage.checkpoint, {"identity": {"schedule": schedule}})
    assert in_precision(FP32, stage, "auto").bf16 is bf16
    stage.checkpoint.unlink()
    write(stage.weights, {"schedule": schedule})
    assert in_precision(FP32, stage, "auto").bf16 is bf16


@pytest.mark.parametrize("schedule", [{"bf16": "yes"}, [1], "fast"])
def test_a_damaged_record_is_refused(tmp_path: Path, schedule: object) -> None:
    stage = Stage(tmp_path, "prior")
    write(stage.weights, {"schedule": schedule})
    with pytest.raises(CheckpointError, match=r"prior\.safetensors"):
        in_precision(FP32, stage, "auto")


@pytest.mark.parametrize("identity", ["text", None, 7])
def test_a_damaged_identity_is_refused(tmp_path: Path, identity: object) -> None:
    stage = Stage(tmp_path, "prior")
    write(stage.checkpoint, {"identity": identity})
    with pytest.raises(CheckpointError, match="checkpoint"):
        in_precision(FP32, stage, "auto")


def test_a_step_of_each_format_is_measured() -> None:
    state = torch.get_rng_state()
    speedup.cache_clear()
    assert 0 < speedup("cpu") < 100
    assert torch.equal(state, torch.get_rng_state()), "the caller's random state is left alone"


@pytest.mark.parametrize(
    ("flags", "noted"), [(["avx2"], True), (["avx2", "avx512_bf16"], False), (["asimd", "bf16"], False), ([], False)]
)
def test_bfloat16_in_software_is_remarked_on(
    flags: list[str], noted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    take_precision("bf16", "cpu")
    assert ("ten times as long" in capsys.readouterr().err) is noted


def test_auto_says_what_it_takes(ratio: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert take_precision("auto", "cpu") == "auto"
    assert (
        f"precision: {'bf16' if ratio > 1 else 'fp32'} (bf16 measured {ratio:.2g} times as fast)"
        in capsys.readouterr().err
    )
