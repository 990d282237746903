"""Occupancy against NVIDIA's own calculator, the header cuda_occupancy.h, where a toolkit is installed."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from puvae_rt.errors import ContractError
from puvae_rt.kernels.binary import ARCHITECTURES
from puvae_rt.kernels.occupancy import LIMITS, REGISTERS, occupancy

CASES = list(
    itertools.product(
        LIMITS, (32, 64, 96, 256, 320, 1024), (16, 33, 48, 59, 64, 65, 128, 255), (0, 68, 1024, 5000, 48 * 1024)
    )
)


def test_every_architecture_that_is_built_has_limits():
    assert set(ARCHITECTURES) == set(LIMITS)


@pytest.mark.parametrize(
    ("arch", "threads", "registers", "shared", "want"),
    [
        (75, 256, 64, 68, 1.0),  # 65,536 registers for 1,024 threads
        (86, 256, 64, 68, 2 / 3),  # and for as many of 1,536
        (80, 256, 40, 0, 0.75),  # 12 warps of 1,280 registers in each partition
        (90, 32, 16, 0, 0.5),  # 32 blocks of a warp
        (86, 256, 16, 49_152, 1 / 3),  # 49 KiB and 1 reserved, twice in 100
        (86, 1024, 64, 0, 2 / 3),
    ],
)
def test_by_hand(arch, threads, registers, shared, want):
    assert occupancy(arch, threads, registers, shared) == pytest.approx(want)


def test_an_architecture_without_limits_is_refused():
    with pytest.raises(ContractError, match=r"sm_70.*75, 80"):
        occupancy(70, 256, 32, 0)


def toolkit_headers() -> Path | None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    told = subprocess.run([nvcc, "--dryrun", "-cubin", "none.cu"], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.*)$", told, re.M)
    headers = Path(top[1], "include") if top else None
    return headers if headers and (headers / "cuda_occupancy.h").exists() else None


HEADERS = toolkit_headers()
PROGRAM = """
#include <cstddef>
#include <cstdio>
#include "cuda_occupancy.h"
int main() {
    int arch, threads, registers, warps, kib, limit;
    unsigned long shared;
    while (std::scanf("%d %d %d %lu %d %d %d", &arch, &threads, &registers, &shared, &warps, &kib, &limit) == 7) {
        cudaOccDeviceProp device;
        device.computeMajor = arch / 10, device.computeMinor = arch % 10, device.warpSize = 32;
        device.maxThreadsPerBlock = 1024, device.maxThreadsPerMultiprocessor = warps * 32;
        device.regsPerBlock = device.regsPerMultiprocessor = limit;
        device.sharedMemPerBlock = 48 * 1024, device.sharedMemPerMultiprocessor = kib * 1024ul;
        device.numSms = 1, device.reservedSharedMemPerBlock = arch >= 80 ? 1024 : 0;
        device.sharedMemPerBlockOptin = device.sharedMemPerMultiprocessor - device.reservedSharedMemPerBlock;
        cudaOccFuncAttributes kernel;
        kernel.maxThreadsPerBlock = 1024, kernel.numRegs = registers, kernel.sharedSizeBytes = 0;
        kernel.partitionedGCConfig = PARTITIONED_GC_OFF, kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
        kernel.maxDynamicSharedSizeBytes = device.sharedMemPerBlockOptin;
        cudaOccDeviceState state;
        state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
        cudaOccResult result;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, shared)) return 1;
        std::printf("%d\\n", result.activeBlocksPerMultiprocessor);
    }
}
"""


@pytest.mark.skipif(HEADERS is None, reason="needs the CUDA toolkit's cuda_occupancy.h")
def test_as_nvidias_calculator(tmp_path):
    source, program = tmp_path / "calculator.cpp", tmp_path / "calculator"
    source.write_text(PROGRAM)
    subprocess.run(["g++", "-w", f"-I{HEADERS}", source, "-o", program], check=True)
    lines = "".join(
        f"{arch} {threads} {registers} {shared} {LIMITS[arch].warps} {LIMITS[arch].shared_kib} {REGISTERS}\n"
        for arch, threads, registers, shared in CASES
    )
    blocks = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout.split()
    want = [
        int(b) * -(-threads // 32) / LIMITS[arch].warps for b, (arch, threads, *_) in zip(blocks, CASES, strict=True)
    ]
    got = [occupancy(*case) for case in CASES]
    assert [(case, g, w) for case, g, w in zip(CASES, got, want, strict=True) if g != w] == []
    assert len(set(want)) > 10
