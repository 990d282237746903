"""ONNX Runtime in a TensorRT engine's place on the emulated device: the same tensors, in stream order, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puvae_rt.device import ALIGNMENT, Stream
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.device.status import failure
from puvae_rt.errors import BundleError
from puvae_rt.gpu.compiled import Signature
from puvae_rt.runtime.manifest import TensorSpec
from puvae_rt.runtime.session import Session, Tensor, open_session

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32"}


class StandIn:
    """An ONNX model as an engine of the emulated device.

    Args:
        device: an emulated one.
        model: its inputs and outputs float32, float16 or int32, the batch free.
        batch: smallest and largest batch, as the real engine's profile has them.
        threads: of ONNX Runtime.
    """

    def __init__(self, device: EmulatedDevice, model: Path, batch: tuple[int, int], threads: int) -> None:
        self._device, self._session = device, open_session(model, threads)
        inputs, outputs = (
            {name: _spec(name, tensor, model) for name, tensor in tensors.items()}
            for tensors in (self._session.inputs, self._session.outputs)
        )
        self.signature = Signature(inputs, outputs, *batch)

    def execution(self, batch: int, addresses: Mapping[str, int], stream: Stream) -> StandInExecution:
        self._check({name: addresses[name] for name in (*self.signature.inputs, *self.signature.outputs)})
        return StandInExecution(self._device, self._session, self.signature, batch, dict(addresses))

    def _check(self, addresses: Mapping[str, int]) -> None:
        """What TensorRT asks for, too."""
        if not self._device.active:
            raise failure("execution", "CUDA_ERROR_INVALID_CONTEXT", "the device is not active in this thread")
        for name, address in addresses.items():
            if address % ALIGNMENT:
                text = f"{name} at {address:#x}, expected a multiple of {ALIGNMENT}"
                raise failure("set_tensor_address", "CUDA_ERROR_MISALIGNED_ADDRESS", text)

    def close(self) -> None:
        """The session is freed with its last reference."""


@dataclass(frozen=True)
class StandInExecution:
    """One inference on given addresses, in the order of a stream."""

    device: EmulatedDevice
    session: Session
    signature: Signature
    batch: int
    addresses: dict[str, int]

    def enqueue(self, stream: Stream) -> None:
        self.device.enqueue(stream, "engine", self._run)

    def why_not_capturable(self, stream: Stream) -> str | None:
        return None

    def _run(self) -> None:
        names = list(self.signature.outputs)
        feed = {name: self._array(spec) for name, spec in self.signature.inputs.items()}
        for name, value in zip(names, self.session.run(names, feed), strict=True):
            self._array(self.signature.outputs[name])[...] = value

    def _array(self, spec: TensorSpec) -> Any:
        return self.device.array(self.addresses[spec.name], (self.batch, *spec.shape[1:]), spec.dtype)


def _spec(name: str, tensor: Tensor, model: Path) -> TensorSpec:
    if tensor.type not in _DTYPES:
        raise BundleError(f"{model}: {name} is {tensor.type}, expected {' or '.join(_DTYPES)}; rebuild the bundle")
    shape = tuple(side if isinstance(side, int) else -1 for side in tensor.shape)
    return TensorSpec(name, _DTYPES[tensor.type], shape)
