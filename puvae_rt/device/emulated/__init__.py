"""A GPU that is not there: the shim-built kernels on host memory, under CUDA's rules for order, capture and memory.

It proves order, addresses and lifetimes, and counts what must not happen per frame. It proves nothing about speed.
"""

from puvae_rt.device.emulated.device import EmulatedDevice

__all__ = ["EmulatedDevice"]
