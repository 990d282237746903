"""Memory of a pipeline: allocated once, laid out anew for each batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from puvae_rt.device import ALIGNMENT, Device, Stream


class Mirror:
    """Bytes that the host and the device both see.

    On a discrete GPU that is page-locked memory and its copy on the device. Where the GPU shares the host's memory
    both are the same bytes, and `upload` and `download` do nothing.
    """

    def __init__(self, device: Device, nbytes: int) -> None:
        self._device, self.host = device, device.allocate_host(nbytes)
        try:
            self._memory = None if self.host.address else device.allocate(nbytes)
        except BaseException:
            self.host.close()
            raise

    @property
    def nbytes(self) -> int:
        """Each side's size."""
        return len(self.host.array)

    @property
    def address(self) -> int:
        """On the device."""
        return self.host.address if self._memory is None else self._memory.address

    def upload(self, nbytes: int, stream: Stream) -> None:
        """The first bytes from the host to the device."""
        if self._memory is not None:
            self._device.to_device(self._memory.address, self.host.array[:nbytes], stream)

    def download(self, nbytes: int, stream: Stream) -> None:
        """The first bytes from the device to the host."""
        if self._memory is not None:
            self._device.to_host(self.host.array[:nbytes], self._memory.address, stream)

    def view(self, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The host's view of an array in it."""
        kind = np.dtype(dtype)
        nbytes = math.prod(shape) * kind.itemsize
        return self.host.array[offset : offset + nbytes].view(kind).reshape(shape)

    def close(self) -> None:
        """Frees both sides; twice is allowed."""
        self.host.close()
        if self._memory is not None:
            self._memory.close()


@dataclass(frozen=True)
class Field:
    """An array with one entry an image."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # of an entry

    @property
    def entry_bytes(self) -> int:
        """One image's size."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """Where the fields of a batch lie, one behind the other: a single copy takes them all."""

    fields: tuple[Field, ...]
    batch: int

    @property
    def offsets(self) -> dict[str, int]:
        """Name -> first byte, a multiple of ALIGNMENT."""
        offsets, at = {}, 0
        for field in self.fields:
            offsets[field.name] = at
            at += aligned(self.batch * field.entry_bytes)
        return offsets

    @property
    def nbytes(self) -> int:
        """All fields together, gaps included."""
        return sum(aligned(self.batch * field.entry_bytes) for field in self.fields)


def aligned(nbytes: int) -> int:
    """`nbytes`, rounded up to where the next array may begin."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
