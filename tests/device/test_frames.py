"""Frames through the whole pipeline on every device layer, with an engine that needs no TensorRT: it copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from puvae_rt.contract import CANDIDATES, IMAGE, ImageContract, Score
from puvae_rt.device import Device, Stream
from puvae_rt.gpu.compiled import Signature
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.runtime.manifest import TensorSpec
from puvae_rt.runtime.preprocess import as_input
from tests import tolerances

GRAY = ImageContract(1, 28, 28)
IMAGE_BYTES = GRAY.pixels * 4
CLASSES = 2


class CopyingEngine:
    """Candidates of one image: black, and the image itself."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.signature = Signature(
            {IMAGE: TensorSpec(IMAGE, "float32", (-1, *GRAY.shape))},
            {CANDIDATES: TensorSpec(CANDIDATES, "float32", (-1, CLASSES, *GRAY.shape))},
            1,
            1,
        )

    def execution(self, batch: int, addresses: Mapping[str, int], stream: Stream) -> Copying:
        assert batch == 1
        return Copying(self._device, addresses[IMAGE], addresses[CANDIDATES])

    def close(self) -> None:
        """Nothing to free."""


@dataclass
class Copying:
    device: Device
    image: int
    candidates: int

    def enqueue(self, stream: Stream) -> None:
        self.device.fill(self.candidates, 0, IMAGE_BYTES, stream)
        self.device.copy(self.candidates + IMAGE_BYTES, self.image, IMAGE_BYTES, stream)

    def why_not_capturable(self, stream: Stream) -> str | None:
        return None


def test_frames_equal_the_preprocessing_of_the_cpu(device: Device) -> None:
    random = np.random.default_rng(0)
    with GpuPipeline(CopyingEngine(device), device, GRAY, CLASSES, Score()) as pipeline:
        for repeat in range(5):  # plainly, captured, replayed with other arguments
            frame = random.integers(0, 256, (100 + repeat, 160, 3), np.uint8)
            region = (2 * repeat - 4, 3 * repeat, 60 + repeat, 84)
            got = pipeline.frame(frame, [region], "bgr8").purified
            assert got.projected.tolist() == [1]
            np.testing.assert_allclose(got.images, as_input(frame, region, GRAY), atol=tolerances.ONE_LEVEL)
        assert pipeline.plan_for_frame(1, "bgr8").captured == device.captures
