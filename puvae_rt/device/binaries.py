"""The kernels' binary for one GPU."""

from __future__ import annotations

import logging

from puvae_rt.device.protocol import Properties
from puvae_rt.kernels import binary

logger = logging.getLogger(__name__)


def kernel_image(properties: Properties) -> bytes:
    """A cubin or PTX that this GPU runs; TargetUnavailableError when there is none and none can be compiled."""
    found = binary.find(properties.compute_capability, properties.driver_version)
    logger.info("kernels for %s: %s", properties.name, found.origin)
    return found.image
