"""A training runs on the device that was asked for, and goes on on another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from puvae_rt.cli.shared import take_device
from puvae_rt.contract import ImageContract
from puvae_rt.data import Split
from puvae_rt.errors import ContractError
from puvae_rt.models.classifiers import classifier
from puvae_rt.models.prior import Prior
from puvae_rt.models.spec import PRIORS
from puvae_rt.training import checkpoint as checkpoints
from puvae_rt.training import loop
from puvae_rt.training.batches import from_device, taker
from puvae_rt.training.checkpoint import load_tensors
from puvae_rt.training.device import CPU, clock_of, described, device_of, gpu_name, resolve
from puvae_rt.training.loop import AdamSettings, fit
from puvae_rt.training.recipes import Schedule
from puvae_rt.training.tasks import ClassifierTask
from tests.other_device import META, OtherDevice

SHAPE = ImageContract(1, 28, 28)
SCHEDULE = Schedule(epochs=1, batch=8)
GPU_STATE = torch.arange(16, dtype=torch.uint8)  # of a GPU's random generator


def split() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (32, 1, 28, 28), dtype=np.uint8), rng.integers(0, 10, 32))


def task() -> ClassifierTask:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return ClassifierTask(classifier("A", SHAPE, 10), augmented=True)


def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")


def without_gpu(monkeypatch: pytest.MonkeyPatch, built_with: str | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_with)


def test_auto_is_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    without_gpu(monkeypatch, None)
    assert resolve("auto") == resolve("cpu") == CPU
    assert take_device("auto") == "cpu" and capsys.readouterr().err == "device: cpu\n"


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_gpu(monkeypatch)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert resolve("auto") == resolve("cuda") == torch.device("cuda:1") and resolve("cpu") == CPU
    assert torch.backends.cudnn.allow_tf32 is False
    assert described(resolve("cuda")) == "cuda:1 (a GPU)"
    assert take_device("auto") == "cuda" and capsys.readouterr().err == "device: cuda:1 (a GPU)\n"


def test_a_gpu_has_a_name_and_a_clock_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch)
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    gpu = resolve("cuda")
    assert (gpu_name(gpu), gpu_name(CPU)) == ("a GPU", None)
    start = clock_of(CPU)()
    assert not waited and clock_of(gpu)() >= start and waited == [gpu]


@pytest.mark.parametrize(
    ("built_with", "told"),
    [(None, "is built without CUDA; install a build with it"), ("13.0", "finds no GPU; see whether `nvidia-smi`")],
)
def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, built_with: str | None, told: str) -> None:
    without_gpu(monkeypatch, built_with)
    with pytest.raises(ContractError, match=told):
        resolve("cuda")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ContractError, match="device 'tpu': expected one of auto, cpu, cuda"):
        resolve("tpu")


def test_a_device_scales_its_images_as_the_host_does() -> None:
    levels = Split(np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8), np.arange(4))
    places = torch.tensor([3, 0, 2, 1])
    for there, here in zip(from_device(levels, CPU)(places), taker(levels, CPU)(places), strict=True):
        assert torch.equal(there, here)


def test_a_device_holds_the_split_in_bytes() -> None:
    with OtherDevice():
        x, y = taker(split(), META)(torch.tensor([1, 2]))
    assert x.is_meta and y.is_meta and x.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")  # it has no values
def test_a_training_on_another_device_is_kept_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(module: torch.nn.Module, schedule: Schedule, adam: AdamSettings) -> torch.optim.Optimizer:
        return torch.optim.AdamW([{"params": list(module.parameters()), "factor": 1.0}])  # "meta" has no fused one

    monkeypatch.setattr(loop, "_optimizer", plain)
    file = tmp_path / "c.safetensors"
    with OtherDevice():
        begun = task()
        begun.module.to(META)
        begun.state["kept"] = torch.rand(3, device=META)
        fit(begun, split(), SCHEDULE, {}, file, stop_after=1)
        resumed = task()
        resumed.module.to(META)
        steps: list[int] = []
        fit(resumed, split(), SCHEDULE, {}, file, lambda step, *_: steps.append(step))
    assert steps == [2, 3, 4]
    assert device_of(resumed.module) == META and resumed.state["kept"].is_meta
    assert {tensor.device for tensor in load_tensors(file)[0].values()} == {CPU}


def test_a_gpus_checkpoint_goes_on_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, file = task(), tmp_path / "c.safetensors"
    fit(whole, split(), SCHEDULE, {})
    with monkeypatch.context() as gpu:
        gpu.setattr(checkpoints, "device_of", lambda _: torch.device("cuda"))
        gpu.setattr(torch.cuda, "get_rng_state", lambda _: GPU_STATE)
        fit(task(), split(), SCHEDULE, {}, file, stop_after=2)
    assert torch.equal(load_tensors(file)[0]["rng_cuda"], GPU_STATE)
    resumed = task()
    fit(resumed, split(), SCHEDULE, {}, file)
    assert all(torch.equal(v, resumed.module.state_dict()[k]) for k, v in whole.module.state_dict().items())


@pytest.mark.parametrize("kept", [True, False])
def test_a_gpus_random_generator_goes_on(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    module = task().module
    optimizer = torch.optim.AdamW(module.parameters())
    tensors = checkpoints.training_state(module, optimizer) | ({"rng_cuda": GPU_STATE} if kept else {})
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(checkpoints, "device_of", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, _: restored.append(state))
    checkpoints.restore_training_state(tensors, module, optimizer)
    assert len(restored) == kept and all(torch.equal(state, GPU_STATE) for state in restored)


def test_a_prior_is_folded_where_it_is() -> None:
    prior = Prior(SHAPE, 10, PRIORS[1], batch_norm=True)
    with OtherDevice():
        prior.to(META)
        assert device_of(prior.folded()) == META
