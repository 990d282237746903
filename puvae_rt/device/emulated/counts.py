"""What was asked of an emulated device, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """How often each thing was done; the difference of two shows what a frame costs."""

    allocations: int = 0
    frees: int = 0
    synchronisations: int = 0  # asked for: of a stream or an event
    pageable_copies: int = 0  # each a hidden synchronisation
    copies: int = 0
    launches: int = 0  # of kernels and graphs by the host
    captures: int = 0
