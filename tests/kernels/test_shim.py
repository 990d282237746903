"""The shim tells wrong kernels from right ones; without that, green kernel tests would prove little."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.errors import BuildError, TargetUnavailableError
from puvae_rt.kernels import shim
from tests.kernels import faulty

ROOT = Path(__file__).parents[2]
POINTER = (ctypes.c_void_p(0),)


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_kernel_runs_in_any_order(seed):
    got = faulty.run("sound", seed, blocks=7)
    np.testing.assert_array_equal(got, np.tile(np.arange(faulty.THREADS)[::-1], 7))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "some_threads_skip_the_barrier",
            r"divergent barrier.*waits at the barrier of .*faulty.cu:\d+, but thread .* has returned",
        ),
        ("two_barriers_for_one", r"divergent barrier.*faulty.cu:(\d+), thread .*faulty.cu:(?!\1)\d+"),
        ("shuffle_in_half_a_warp", r"divergent shuffle.*has returned"),
        ("shuffle_reads_outside_its_mask", r"reads lane 1?\d, which its mask leaves out"),
        ("shuffle_mask_without_the_caller", r"leaves out the calling lane"),
        ("reads_uninitialised_shared_memory", r"thread \(0,0,0\): shared memory byte 0: .*uninitialised"),
        ("forgets_the_barrier", r"uninitialised|race"),
        ("overruns_shared_memory", r"thread \(31,0,0\): shared memory index outside"),
        ("asks_for_more_shared_memory_than_launched", r"shared array of 132 bytes at 0 in the launch's 128"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_faulty_kernel_is_caught(entry, message, seed):
    with pytest.raises(shim.KernelFaultError, match=message):
        faulty.run(entry, seed, blocks=faulty.BLOCKS)
    faulty.run("sound")  # and the next launch is none the worse


def test_the_seed_alone_decides_the_order():
    orders = [tuple(faulty.run("depends_on_the_order", seed, blocks=3)[1:]) for seed in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert len(set(orders)) == 3
    blocks = [v // faulty.THREADS for v in orders[0]]
    assert blocks != sorted(blocks), "threads of several blocks must interleave"


@pytest.mark.parametrize(
    ("entry", "grid", "block", "shared", "arguments", "message"),
    [
        ("nothing", (1, 1, 1), (1, 1, 1), 0, POINTER, "no kernel named nothing"),
        ("sound", (0, 1, 1), (1, 1, 1), 0, POINTER, "grid"),
        ("sound", (1, 65_536, 1), (1, 1, 1), 0, POINTER, "grid"),
        ("sound", (1, 1, 1), (32, 33, 1), 0, POINTER, "1,024 threads"),
        ("sound", (1, 1, 1), (1, 1, 1), 50_000, POINTER, "shared memory"),
        ("sound", (1, 1, 1), (1, 1, 1), 0, (), "takes 1 arguments: got 0"),
        ("sound", (1, 1, 1), (1, 1, 1), 0, (ctypes.c_int32(0),), "argument 0 has 8 bytes: got 4"),
    ],
    ids=["name", "empty grid", "tall grid", "large block", "shared", "arity", "size"],
)
def test_a_launch_that_cuda_refuses_is_refused(entry, grid, block, shared, arguments, message):
    with pytest.raises(shim.KernelFaultError, match=message):
        faulty.built_library().launch(entry, grid, block, shared, arguments)


def test_a_library_is_built_once_and_by_content(tmp_path):
    source = tmp_path / "k.cu"
    source.write_text('#include "device.cuh"\nextern "C" __global__ void k(int32* out) { *out = 1; }\n')
    first = shim.build({source: ("k",)}, cache=tmp_path)
    assert shim.build({source: ("k",)}, cache=tmp_path) == first
    stamp = first.stat().st_mtime_ns
    source.write_text(source.read_text().replace("= 1", "= 2"))
    second = shim.build({source: ("k",)}, cache=tmp_path)
    assert second != first
    assert first.stat().st_mtime_ns == stamp
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".cu", ".so", ".so"], "no half-built file is left"


def test_a_library_is_built_without_a_cache_that_can_be_written(tmp_path, monkeypatch, caplog):
    source = tmp_path / "k.cu"
    source.write_text('#include "device.cuh"\nextern "C" __global__ void k(int32* out) { *out = 3; }\n')
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "file" / "below"))
    library = shim.build({source: ("k",)})
    assert library.is_file() and not library.is_relative_to(tmp_path)
    assert "kernel cache" in caplog.text and "set PUVAE_CACHE to a writable folder" in caplog.text
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    assert shim.build({source: ("k",)}).parent == tmp_path / "cache" / "kernels"


def test_a_source_that_does_not_compile_says_where(tmp_path):
    source = tmp_path / "k.cu"
    source.write_text('#include "device.cuh"\nextern "C" __global__ void k(int32* out) { *out = __clock(); }\n')
    with pytest.raises(BuildError, match=r"k\.cu:2.*\n(.*\n)*.*__clock"):
        shim.build({source: ("k",)}, cache=tmp_path)


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TargetUnavailableError, match="apt install"):
        shim.build({faulty.SOURCE: faulty.ENTRIES}, cache=tmp_path)


def test_a_compiler_without_sanitisers_is_named(monkeypatch, tmp_path):
    compiler = tmp_path / "cc-without"
    compiler.write_text("#!/bin/sh\necho ${1#*=}\n")  # -print-file-name=X of a file that it lacks prints X
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(TargetUnavailableError, match=r"cc-without has no libasan.so.*apt install"):
        shim.sanitizer_environment()


def in_sanitizer(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **shim.sanitizer_environment()}
    except TargetUnavailableError as error:
        pytest.skip(str(error))
    return subprocess.run([sys.executable, "-m", *command], env=environment, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("overruns_global_memory", "heap-buffer-overflow"),
        ("overflows_an_integer", "signed integer overflow"),
        ("sound", ""),
    ],
)
def test_sanitizers_catch_what_the_scheduler_cannot_see(entry, message):
    done = in_sanitizer("tests.kernels.faulty", entry)
    assert message in done.stderr
    assert bool(done.returncode) == bool(message), done.stderr
    assert "faulty.cu" in done.stderr or not message


@pytest.mark.slow
def test_the_kernels_pass_their_tests_under_the_sanitizers():
    others = (path for path in sorted(Path(__file__).parent.glob("test_*.py")) if path != Path(__file__))
    tests = [str(path) for path in others if "kernels.harness import" in path.read_text()]
    assert tests
    # A whole frame is the same code as its regions, for longer.
    done = in_sanitizer("pytest", "-p", "no:cacheprovider", "-k", "not whole_camera_frame", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
