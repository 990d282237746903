"""The report of the kernels' resources: its parser, what is recorded, and what the compiler says today."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from puvae_rt.errors import BuildError
from puvae_rt.kernels import ENTRIES, binary, report

RECORDED = Path(__file__).parents[2] / "results" / "kernels.json"
NAMES = [name for entries in ENTRIES.values() for name in entries]
LINES = """\
ptxas info    : Compiling entry function '{name}' for 'sm_87'
ptxas info    : Function properties for {name}
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers, {smem}440 bytes cmem[0]
ptxas info    : Compile time = 12.345 ms
"""


def log(names=NAMES, registers=40, stores=0, loads=0, smem="") -> str:
    """What `nvcc -Xptxas=-v` of CUDA 13.0 prints."""
    kernels = (LINES.format(name=n, stack=0, stores=stores, loads=loads, registers=registers, smem=smem) for n in names)
    return "ptxas info    : 0 bytes gmem\n" + "".join(kernels)


def of(entry: str, resources: list[report.Resources]) -> report.Resources:
    return next(r for r in resources if r.kernel == entry)


def as_report(resources: list[report.Resources]) -> dict:
    return {"kernels": [vars(r) for r in resources]}


def test_every_kernel_is_read():
    got = report.parsed(log(), 87)
    assert [r.kernel for r in got] == NAMES
    # 12 warps of 1,280 registers in each of four partitions: 6 blocks of 8 warps of 48
    assert of("preprocess_nv12_gray_f16", got) == report.Resources("preprocess_nv12_gray_f16", "sm_87", 40, 0, 0, 1.0)
    assert of("select_projection_f32_f16_f32", got).shared_bytes == 68  # dynamic, by the launch


def test_registers_spills_and_static_shared_memory_are_read():
    got = report.parsed(log(registers=59, stores=8, loads=12, smem="512 bytes smem, "), 86)
    assert of("preprocess_bgr8_rgb_f32", got) == report.Resources(
        "preprocess_bgr8_rgb_f32", "sm_86", 59, 512, 20, pytest.approx(2 / 3, abs=1e-4)
    )


def test_each_kernel_gets_its_own_lines():
    text = log(NAMES[:3], registers=33) + log(NAMES[3:], registers=48)
    got = report.parsed(text, 87)
    assert [r.registers for r in got] == [33] * 3 + [48] * (len(NAMES) - 3)


def test_a_kernel_that_the_compiler_left_out_is_an_error():
    with pytest.raises(BuildError, match=rf"no {NAMES[2]} \(1 missing\)"):
        report.parsed(log([*NAMES[:2], *NAMES[3:]]), 87)


def test_a_log_of_another_form_is_an_error():
    with pytest.raises(BuildError, match="form has changed"):
        report.parsed(log().replace("registers", "regs"), 87)


def test_spills_and_lower_occupancy_are_worse():
    good, spilling, fuller = (as_report(report.parsed(text, 87)) for text in (log(), log(stores=4), log(registers=64)))
    assert report.worse(good, good) == []
    assert report.worse(good, fuller) == []
    assert len(report.worse(spilling, good)) == len(NAMES)
    assert "spills 4 bytes" in report.worse(spilling, good)[0]
    assert "occupancy 67% fell below the recorded 100%" in report.worse(fuller, good)[0]


def test_what_is_recorded_is_of_these_sources_and_complete():
    recorded = json.loads(RECORDED.read_text())
    assert recorded["sources"] == binary.source_digest(), (
        "the kernels have changed: python -m puvae_rt.kernels.report --json results/kernels.json, and look at the diff"
    )
    assert recorded["evidence"] == "compiled"
    want = {(name, f"sm_{arch}") for name in NAMES for arch in binary.ARCHITECTURES}
    assert {(k["kernel"], k["arch"]) for k in recorded["kernels"]} == want
    assert report.worse(recorded, recorded) == []


def test_the_recorded_table_is_made_from_the_recorded_json():
    assert RECORDED.with_suffix(".md").read_text() == report.table(json.loads(RECORDED.read_text()))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc: the CUDA toolkit is not on the PATH")
def test_the_compiler_finds_no_spill_and_no_lower_occupancy_than_recorded(tmp_path, capsys):
    """On one architecture, for time: what is recorded of the others is of the same sources."""
    path = tmp_path / "new" / "kernels.json"
    assert report.main(["--json", str(path), "--architectures", "75"]) == 0
    now = json.loads(path.read_text())
    assert len(now["kernels"]) == len(NAMES)
    assert report.worse(now, json.loads(RECORDED.read_text())) == []
    assert capsys.readouterr().out.strip() == path.with_suffix(".md").read_text().strip()


def test_without_nvcc_the_command_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setenv("NVCC", "no-such-nvcc")
    assert report.main([]) == 2
    assert "needs nvcc, which is not on the PATH" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "87,", "sm_87", "87;89"])
def test_architectures_that_are_no_numbers_are_refused(text, capsys):
    assert report.main(["--architectures", text]) == 2
    assert "as 75,87" in capsys.readouterr().err


def stand_in(folder, monkeypatch, otherwise: str) -> None:
    """An nvcc of CUDA 12.6 on the PATH."""
    nvcc = folder / "nvcc"
    nvcc.write_text(
        "#!/bin/sh\ncase $1 in --list-gpu-code) echo sm_75; echo sm_87; echo sm_90;;\n"
        f"--version) echo 'Cuda compilation tools, release 12.6, V12.6.85';;\n*) {otherwise};; esac\n"
    )
    nvcc.chmod(nvcc.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("NVCC", raising=False)


def test_architectures_that_the_compiler_does_not_know_are_named(tmp_path, monkeypatch, capsys):
    stand_in(tmp_path, monkeypatch, "exit 1")
    assert report.main(["--architectures", "87,110,121"]) == 2
    told = capsys.readouterr().err
    assert "nvcc 12.6.85 of CUDA 12.6 knows no sm_110, sm_121" in told and "--architectures 87" in told


def test_a_compiler_that_fails_is_reported_with_its_words(tmp_path, monkeypatch, capsys):
    stand_in(tmp_path, monkeypatch, "echo 'kernels.cu(7): error: wrong' >&2; exit 1")
    assert report.main(["--architectures", "87"]) == 2
    assert "kernels.cu(7): error: wrong" in capsys.readouterr().err
