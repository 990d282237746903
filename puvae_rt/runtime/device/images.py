"""The kernels' binary for one GPU."""

from __future__ import annotations

from puvae_rt.runtime.device.protocol import Properties


def kernel_image(properties: Properties) -> bytes:
    """A cubin or PTX that this GPU runs; TargetUnavailableError when there is none and none can be compiled."""
    raise NotImplementedError  # replaced as soon as kernels/binary.py is committed
