"""Which binary a GPU gets, what CMake builds, and what NVRTC compiles when nothing was built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from puvae_rt.errors import BuildError, TargetUnavailableError
from puvae_rt.kernels import ENTRIES, binary, nvrtc
from puvae_rt.kernels.binary import Built

ROOT = Path(__file__).parents[2]
NVCC = shutil.which("nvcc")
ENTRY_NAMES = [name.encode() for entries in ENTRIES.values() for name in entries]
SMALL = 'extern "C" __global__ void small(int* out) { *out = PUVAE; }\n'


def built(name: str, toolkit: tuple[int, int] = (13, 0)) -> Built:
    kind, number = name.split("_")
    return Built(Path(name), kind == "sm", divmod(int(number), 10), toolkit, "")


ALL = [built(f"sm_{arch}") for arch in binary.ARCHITECTURES] + [built("compute_75")]


@pytest.mark.parametrize(
    ("capability", "driver", "chosen"),
    [
        ((7, 5), (13, 0), "sm_75"),
        ((8, 6), (13, 2), "sm_86"),
        ((8, 7), (13, 0), "sm_87"),
        ((8, 8), (13, 0), "sm_86"),  # same major, lower minor, but not Jetson's 8.7
        ((8, 9), (14, 0), "sm_89"),
        ((10, 3), (13, 0), "sm_100"),
        ((11, 0), (13, 0), "sm_110"),
        ((12, 1), (13, 0), "sm_121"),
        ((13, 0), (13, 0), "compute_75"),  # of a major version to come
        ((7, 0), (13, 0), None),  # older than the PTX
        ((8, 7), (12, 6), None),  # a driver older than the toolkit
    ],
    ids=str,
)
def test_the_closest_binary_is_chosen(capability, driver, chosen):
    got = binary.choose(ALL, capability, driver)
    assert (got and str(got.path)) == chosen


def test_a_cubin_needs_the_drivers_major_version_and_ptx_its_minor():
    newer = [built("sm_75", (13, 2)), built("compute_75", (13, 2))]
    assert binary.choose(newer, (7, 5), (13, 0)) == newer[0]
    assert binary.choose(newer, (9, 0), (13, 0)) is None
    assert binary.choose(newer, (9, 0), (13, 2)) == newer[1]


def test_of_two_toolkits_the_newer_one_that_runs():
    both = [built("sm_87", (12, 6)), built("sm_87", (13, 0))]
    assert binary.choose(both, (8, 7), (13, 1)) == both[1]
    assert binary.choose(both, (8, 7), (12, 8)) == both[0]


def test_binaries_of_other_sources_and_other_files_are_not_listed(tmp_path):
    fitting = f"sm_121.cuda13.0.{binary.source_digest()}.cubin"
    for name in (fitting, "sm_87.cuda13.0.0123456789abcdef.cubin", "README"):
        (tmp_path / name).write_bytes(name.encode())
    (only,) = binary.listed(tmp_path)
    assert (only.path.name, only.capability, only.toolkit, only.machine_code) == (fitting, (12, 1), (13, 0), True)
    assert binary.find((12, 1), (13, 0), tmp_path) == (fitting.encode(), "cubin sm_121 of CUDA 13.0")


def test_ptx_is_handed_over_as_a_c_string(tmp_path):
    (tmp_path / f"compute_75.cuda13.0.{binary.source_digest()}.ptx").write_bytes(b".version 9.0")
    assert binary.find((9, 0), (13, 0), tmp_path) == (b".version 9.0\0", "PTX compute_75 of CUDA 13.0")


@pytest.mark.skipif(NVCC is None or shutil.which("cmake") is None, reason="needs nvcc and cmake")
def test_cmake_builds_what_is_then_found(tmp_path):
    places = (f"-DCUBINS={tmp_path / 'cubin'}", "-DARCHITECTURES=87;12345")
    configured = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path / "build", *places], capture_output=True, text=True, check=True
    )
    assert "knows no sm_12345" in configured.stdout
    subprocess.run(["cmake", "--build", tmp_path / "build", "-j2"], capture_output=True, check=True)
    machine_code, ptx = (binary.find(capability, (13, 9), tmp_path / "cubin") for capability in ((8, 7), (9, 0)))
    assert machine_code.image.startswith(b"\x7fELF")
    assert "sm_87" in machine_code.origin
    assert ptx.image.endswith(b"\0")
    for image in (machine_code.image, ptx.image):
        assert [name for name in ENTRY_NAMES if name not in image] == []


def test_without_a_built_binary_nvrtc_compiles_every_kernel(tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs the extra [cuda]")
    image, origin = binary.find((8, 7), (99, 0), tmp_path / "absent")
    assert image.startswith(b"\x7fELF")
    assert origin.startswith("sm_87 compiled by NVRTC")
    assert [name for name in ENTRY_NAMES if name not in image] == []


def small_source(folder: Path, value: str) -> Path:
    folder.joinpath("included.cuh").write_text(f"#define PUVAE {value}\n")
    source = folder / "small.cu"
    source.write_text('#include "included.cuh"\n' + SMALL)
    return source


def test_nvrtc_makes_ptx_for_a_gpu_that_it_does_not_know(tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs the extra [cuda]")
    image, origin = nvrtc.compile_for(small_source(tmp_path, "1"), (98, 7), (99, 0), "digest", tmp_path)
    assert b".visible .entry small" in image
    assert origin.startswith("compute_")


def test_nvrtc_compiles_once_for_the_same_sources(tmp_path, monkeypatch):
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs the extra [cuda]")
    source = small_source(tmp_path, "1")
    first = nvrtc.compile_for(source, (8, 7), (99, 0), "digest", tmp_path)
    monkeypatch.setattr(nvrtc, "_compiled", lambda *_: b"compiled again")
    assert nvrtc.compile_for(source, (8, 7), (99, 0), "digest", tmp_path) == first
    assert nvrtc.compile_for(source, (8, 7), (99, 0), "other", tmp_path).image == b"compiled again"
    assert nvrtc.compile_for(source, (8, 9), (99, 0), "digest", tmp_path).image == b"compiled again"


@pytest.mark.parametrize("place", ["", "file/below", None], ids=["writable", "not writable", "none"])
def test_the_cache_of_compiled_kernels(tmp_path, monkeypatch, caplog, place):
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs the extra [cuda]")
    (tmp_path / "file").write_text("")
    if place is None:
        monkeypatch.setattr(nvrtc, "cache_folder", lambda name: None)
    else:
        monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / place))
    monkeypatch.setattr(nvrtc, "_compiled", lambda *_: b"compiled")
    source = small_source(tmp_path, "1")
    assert nvrtc.compile_for(source, (8, 7), (99, 0), "digest").image == b"compiled"
    stored = list(tmp_path.glob("kernels/nvrtc-*.bin"))
    assert len(stored) == (place == "")
    assert ("set PUVAE_CACHE to a writable folder" in caplog.text) == (place == "file/below")
    for damage in (b"", b"compiled", stored and stored[0].read_bytes()[:-1] + b"!", None):
        for path in stored:  # what was changed since is compiled again
            path.unlink()
            os.mkfifo(path) if damage is None else path.write_bytes(damage)
        monkeypatch.setattr(nvrtc, "_compiled", lambda *_, again=damage: repr(again).encode())
        assert nvrtc.compile_for(source, (8, 7), (99, 0), "digest").image == repr(damage).encode()


def test_a_source_that_nvrtc_refuses_is_reported_with_its_log(tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs the extra [cuda]")
    with pytest.raises(BuildError, match=r"small.cu.*\n(.*\n)*.*unknown_name"):
        nvrtc.compile_for(small_source(tmp_path, "unknown_name"), (8, 7), (99, 0), "digest", tmp_path)
    assert list(tmp_path.glob("nvrtc-*")) == []


@pytest.mark.parametrize(
    ("capability", "driver", "want"),
    [
        ((8, 7), (13, 0), ("sm", 87)),
        ((8, 7), (13, 5), ("sm", 87)),
        ((8, 8), (13, 1), ("compute", 87)),
        ((14, 0), (14, 0), ("compute", 120)),
    ],
    ids=str,
)
def test_nvrtc_aims_at_the_gpu_or_below_it(capability, driver, want):
    assert nvrtc.target(capability, driver, (13, 1), (75, 87, 120)) == want


@pytest.mark.parametrize(
    ("capability", "driver", "message"),
    [
        ((8, 7), (12, 6), r"drivers of CUDA 13, and this one has CUDA 12.6.*cuda12"),
        ((8, 8), (13, 0), r"75, 87, 120 and not 88.*CUDA 13.0"),  # PTX of 13.1 is beyond this driver
        ((6, 1), (13, 2), r"not 61"),
    ],
    ids=str,
)
def test_nvrtc_refuses_what_the_driver_could_not_load(capability, driver, message):
    with pytest.raises(TargetUnavailableError, match=message):
        nvrtc.target(capability, driver, (13, 1), (75, 87, 120))


def test_without_binaries_and_nvrtc_the_error_says_both_ways_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(TargetUnavailableError, match=r"8\.7.*CUDA 13\.0.*none.*NVRTC is missing.*\[cuda\].*cmake -B"):
        binary.find((8, 7), (13, 0), tmp_path)


def test_binaries_that_do_not_fit_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    (tmp_path / f"sm_75.cuda13.0.{binary.source_digest()}.cubin").touch()
    with pytest.raises(TargetUnavailableError, match=r"cubin sm_75 of CUDA 13\.0\. And"):
        binary.find((8, 7), (13, 0), tmp_path)
