from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.doctor import checks
from puvae_rt.doctor import command as doctor
from puvae_rt.doctor.board import board_checks
from puvae_rt.errors import TargetUnavailableError
from puvae_rt.gpu.tensorrt import library
from tests.device.conftest import cuda_over


def missing(*arguments: object) -> None:
    raise TargetUnavailableError("not here; install it")


def libraries(**versions: str):
    def load(target: str) -> object:
        return SimpleNamespace(__version__=versions[target]) if target in versions else missing()

    return load


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> EmulatedDevice:
    """A GPU as the CUDA layer sees one, with kernels and TensorRT-RTX."""
    emulated = EmulatedDevice()
    device = cuda_over(monkeypatch, emulated)
    monkeypatch.setattr(checks, "open_device", lambda name: device)
    monkeypatch.setattr(checks.binary, "find", lambda *a: SimpleNamespace(origin="cubin sm_89 of CUDA 13.0"))
    monkeypatch.setattr(checks, "load", libraries(rtx="1.7"))
    return emulated


def test_a_complete_machine_is_ready(gpu, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--target", "gpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["gpu_ready"] and report["ready"] == ["cpu", "native", "rtx"]
    assert [check["name"] for check in report["checks"] if check["ok"] is False] == []


@pytest.mark.parametrize("part", ["kernels", "library", "memory"])
def test_anything_missing_is_named_with_its_remedy(gpu, monkeypatch, capsys, part: str) -> None:
    if part == "kernels":
        monkeypatch.setattr(checks.binary, "find", missing)
    elif part == "library":
        monkeypatch.setattr(checks, "load", missing)
    else:
        monkeypatch.setattr(checks, "LEAST_FREE", gpu.properties.total_memory + 1)
    assert doctor.main(["--target", "gpu"]) == 1
    out = capsys.readouterr().out
    assert "targets ready here: cpu, native\n" in out
    assert {"kernels": "kernels: not here", "library": "target rtx: not here", "memory": "close other"}[part] in out


def test_tensorrt_rtx_is_not_missing_where_it_does_not_run(gpu, monkeypatch, capsys) -> None:
    """An Orin: compute capability 8.7."""
    monkeypatch.setattr(library, "COMPUTE_CAPABILITIES", ("12.0",))
    monkeypatch.setattr(checks, "load", libraries(tensorrt="10.3"))
    assert doctor.main(["--target", "gpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ready"] == ["cpu", "native", "tensorrt"]


@pytest.mark.parametrize("nvrtc", [(13, 0), None], ids=["NVRTC", "no NVRTC"])
def test_without_a_gpu_the_kernels_at_hand_are_listed(monkeypatch, capsys, tmp_path: Path, nvrtc) -> None:
    monkeypatch.setattr(checks, "open_device", missing)
    monkeypatch.setattr(checks.nvrtc, "installed", lambda: nvrtc or missing())
    (tmp_path / f"sm_87.cuda13.0.{checks.binary.source_digest()}.cubin").touch()
    listed = checks.binary.listed
    for folder, built in ((tmp_path, "cubin sm_87 of CUDA 13.0"), (tmp_path / "absent", "none built")):
        monkeypatch.setattr(checks.binary, "listed", lambda folder=folder: listed(folder))
        assert doctor.main(["--target", "gpu"]) == 1
        out = capsys.readouterr().out
        compiles = "NVRTC 13.0 compiles them" if nvrtc else "no NVRTC to compile them"
        assert f"{built}; {compiles} at run time" in out


def test_without_a_gpu_the_cpu_is_still_reported(monkeypatch, capsys) -> None:
    monkeypatch.setattr(checks, "open_device", missing)
    assert doctor.main(["--target", "gpu"]) == 1
    out = capsys.readouterr().out
    assert "CPU target" in out and "GPU: not here; install it" in out and "targets ready here: cpu" in out


def test_an_emulated_gpu_is_never_ready(capsys) -> None:
    assert doctor.main(["--device", "emulated", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["evidence"], report["ready"]) == ("emulated", ["cpu", "native"])


def test_a_wrong_device_name_is_explained(capsys) -> None:
    assert doctor.main(["--device", "opencl"]) == 1
    assert "expected one of cuda, pycuda, emulated" in capsys.readouterr().out


def jetson(root: Path, mode: str = "pmode:0002\n", low: str = "306000000") -> Path:
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
        "var/lib/nvpmodel/status": mode,
        "sys/class/devfreq/17000000.gpu/min_freq": low,
        "sys/class/devfreq/17000000.gpu/cur_freq": "612000000",
        "sys/class/devfreq/17000000.gpu/max_freq": "1020000000",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_power_mode_and_clocks_of_a_board(tmp_path: Path) -> None:
    found = {check.name: check.found for check in board_checks(jetson(tmp_path))}
    assert found["board"] == "NVIDIA Jetson Orin Nano Developer Kit, L4T 36.4.3"
    assert found["power mode"] == "MAXN_SUPER"
    assert found["GPU clock"].startswith("612 of 1020 MHz, not pinned")
    assert found["CPU governor"] == "schedutil"


def test_a_board_that_could_be_faster_is_told_how(tmp_path: Path) -> None:
    found = {c.name: c.found for c in board_checks(jetson(tmp_path, "pmode:0000", low="1020000000"))}
    assert found["power mode"] == "15W; MAXN_SUPER is faster: `sudo nvpmodel -m 2`"
    assert found["GPU clock"].endswith("pinned")


def test_no_board_no_checks(tmp_path: Path) -> None:
    assert list(board_checks(tmp_path)) == []
