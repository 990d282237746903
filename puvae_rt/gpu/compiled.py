"""An engine on a device, as the pipeline sees it: TensorRT's (trt.py), or ONNX Runtime standing in (stand_in.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from puvae_rt.device import Stream
from puvae_rt.runtime.manifest import TensorSpec


@dataclass(frozen=True)
class Signature:
    """An engine's tensors, and the batches that it takes."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    min_batch: int
    max_batch: int

    def dtype(self, name: str) -> np.dtype[np.generic]:
        """Of an input or an output."""
        return np.dtype({**self.inputs, **self.outputs}[name].dtype)


class Execution(Protocol):
    """An engine ready for one batch size, its addresses set."""

    def enqueue(self, stream: Stream) -> None:
        """Puts one inference on the stream."""

    def why_not_capturable(self, stream: Stream) -> str | None:
        """Why a graph cannot hold `enqueue`; None when it can."""


class CompiledEngine(Protocol):
    """A loaded engine; executions of it may run at the same time, each on a stream of its own."""

    @property
    def signature(self) -> Signature:
        """Its tensors and batches."""

    def execution(self, batch: int, addresses: Mapping[str, int], stream: Stream) -> Execution:
        """An execution for `batch` images with every tensor at a device address; `stream` is for its set-up."""

    def close(self) -> None:
        """Frees the engine; executions keep what they need of it."""
