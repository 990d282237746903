"""How full a multiprocessor can be: NVIDIA's occupancy calculation from published limits, without a GPU."""

from __future__ import annotations

from typing import NamedTuple

from puvae_rt.errors import ContractError
from puvae_rt.kernels.launch import WARP


class Limits(NamedTuple):
    """What one multiprocessor holds."""

    warps: int
    blocks: int
    shared_kib: int


# CUDA C++ Programming Guide 13.0, table "Technical Specifications per Compute Capability"; 11.0's and 12.1's blocks
# and the granularities below are those of the toolkit's cuda_occupancy.h.
LIMITS = {
    75: Limits(32, 16, 64),
    80: Limits(64, 32, 164),
    86: Limits(48, 16, 100),
    87: Limits(48, 16, 164),
    89: Limits(48, 24, 100),
    90: Limits(64, 32, 228),
    100: Limits(64, 32, 228),
    110: Limits(48, 24, 228),
    120: Limits(48, 24, 100),
    121: Limits(48, 24, 100),
}
REGISTERS = 65_536  # of a multiprocessor, 32 bits each
PARTITIONS = 4  # which share them out; a warp lives in one
REGISTER_UNIT = 256  # registers are allocated to a warp in multiples of it
AMPERE = 80  # from there on a block loses RESERVED_SHARED bytes to the system, and the unit is finer
RESERVED_SHARED = 1024
SHARED_UNIT, SHARED_UNIT_BEFORE_AMPERE = 128, 256


def occupancy(arch: int, threads: int, registers: int, shared_bytes: int) -> float:
    """Resident warps over the most that a multiprocessor of `arch` holds, 0 to 1.

    Args:
        arch: compute capability without the dot, one of LIMITS.
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block, static and dynamic.
    """
    if arch not in LIMITS:
        raise ContractError(f"sm_{arch}: expected one of {', '.join(map(str, LIMITS))}; add its limits to occupancy.py")
    limits, warps = LIMITS[arch], -(-threads // WARP)
    partition_warps = REGISTERS // PARTITIONS // _rounded(registers * WARP, REGISTER_UNIT)
    shared = _rounded(shared_bytes + RESERVED_SHARED * (arch >= AMPERE), _shared_unit(arch))
    blocks = min(
        limits.blocks,
        limits.warps // warps,
        partition_warps * PARTITIONS // warps,
        limits.shared_kib * 1024 // shared if shared else limits.blocks,
    )
    return blocks * warps / limits.warps


def _shared_unit(arch: int) -> int:
    return SHARED_UNIT if arch >= AMPERE else SHARED_UNIT_BEFORE_AMPERE


def _rounded(value: int, unit: int) -> int:
    return -(-value // unit) * unit
