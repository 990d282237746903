"""Device and page-locked memory in host RAM, with every address checked."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from puvae_rt.device.protocol import ALIGNMENT, Bytes, HostKind
from puvae_rt.device.status import failure

GUARD = 4096  # bytes before and after each block that nobody may write
GUARD_BYTE = 0xA5
UNWRITTEN = 0xFF  # what fresh device memory holds: NaN as a float, -1 as an integer

DEVICE = None  # kind of a block that is not host memory


@dataclass(frozen=True)
class Block:
    """One allocation between two guards."""

    address: int
    nbytes: int
    kind: HostKind | None
    whole: Bytes  # guard, block, guard
    start: int  # of the block in `whole`

    @property
    def array(self) -> Bytes:
        """Its bytes without the guards."""
        return self.whole[self.start : self.start + self.nbytes]

    @property
    def reachable(self) -> bool:
        """By a kernel. CUDA would let it read PINNED too; here only what the protocol promises an address for."""
        return self.kind is not HostKind.PINNED

    def intact(self) -> bool:
        """Whether nobody wrote into the guards."""
        before = self.whole[self.start - GUARD : self.start]
        after = self.whole[self.start + self.nbytes : self.start + self.nbytes + GUARD]
        return bool((before == GUARD_BYTE).all() and (after == GUARD_BYTE).all())


class AddressSpace:
    """The live blocks, by address."""

    def __init__(self, capacity: int) -> None:
        self._starts: list[int] = []
        self._blocks: dict[int, Block] = {}
        self._capacity, self.used = capacity, 0

    def allocate(self, nbytes: int, kind: HostKind | None, call: str) -> Block:
        """A new block of UNWRITTEN bytes; DeviceError in the name of `call` when there is no room."""
        if nbytes <= 0:
            raise failure(call, "CUDA_ERROR_INVALID_VALUE", f"{nbytes} bytes asked")
        if self.used + nbytes > self._capacity:
            raise failure(call, "CUDA_ERROR_OUT_OF_MEMORY", f"{nbytes} bytes asked, {self._capacity - self.used} free")
        whole = np.full(nbytes + 2 * GUARD + ALIGNMENT, GUARD_BYTE, np.uint8)
        start = GUARD + -(whole.ctypes.data + GUARD) % ALIGNMENT
        block = Block(whole.ctypes.data + start, nbytes, kind, whole, start)
        block.array[:] = UNWRITTEN
        bisect.insort(self._starts, block.address)
        self._blocks[block.address] = block
        self.used += nbytes
        return block

    def free(self, address: int, call: str, check: bool = True) -> None:
        """Forgets a block; DeviceError when it is none, or its guards were written to (unless not `check`)."""
        block = self._blocks.pop(address, None)
        if block is None:
            raise failure(call, "CUDA_ERROR_INVALID_VALUE", f"{address:#x} is no live allocation")
        self._starts.remove(address)
        self.used -= block.nbytes
        if check and not block.intact():
            raise failure(call, "CUDA_ERROR_ILLEGAL_ADDRESS", f"something wrote past the {block.nbytes} bytes it frees")

    def find(self, address: int, nbytes: int = 1) -> Block | None:
        """The live block that holds all of [address, address + nbytes)."""
        i = bisect.bisect_right(self._starts, address) - 1
        if i < 0:
            return None
        block = self._blocks[self._starts[i]]
        return block if address + nbytes <= block.address + block.nbytes else None

    def view(self, address: int, nbytes: int, call: str) -> Bytes:
        """Bytes that the device can reach."""
        block = self.find(address, nbytes)
        if block is None or not block.reachable:
            raise failure(call, "CUDA_ERROR_INVALID_VALUE", f"{nbytes} bytes at {address:#x} are no device memory")
        offset = address - block.address
        return block.array[offset : offset + nbytes]

    def locked_view(self, address: int, nbytes: int, call: str) -> Bytes:
        """Page-locked bytes of the host."""
        block = self.find(address, nbytes)
        if block is None:
            raise failure(call, "CUDA_ERROR_ILLEGAL_ADDRESS", f"host memory at {address:#x} was freed")
        offset = address - block.address
        return block.array[offset : offset + nbytes]

    def page_locked(self, address: int, nbytes: int) -> bool:
        """Whether these bytes are page-locked memory of the host."""
        block = self.find(address, nbytes)
        return block is not None and block.kind is not DEVICE
