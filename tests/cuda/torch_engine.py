"""PyTorch in TensorRT's place: an engine's ONNX file run on the pipeline's own stream, on GPUs that no TensorRT serves.

Everything else is the product's: the CUDA layer, the kernels, the graph capture. Numbers got with it are not
TensorRT's, and say so. On the emulated device it runs on the CPU, in stream order, to try the same without a GPU.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from puvae_rt.contract import CLASSIFIER_FILE, ENGINE_ONNX_FILE
from puvae_rt.device import Device, Stream
from puvae_rt.device.arrays import DeviceArray
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.gpu.compiled import Signature
from puvae_rt.gpu.pipeline import GpuPipeline
from puvae_rt.runtime.manifest import Manifest, TensorSpec

CALLED = "PyTorch in TensorRT's place"
TYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
}
Attributes = Mapping[str, Any]


def pipeline(folder: Path, device: Device, batch: tuple[int, int]) -> GpuPipeline:
    """The pipeline of a bundle for a GPU target, on an open device.

    Args:
        folder: the bundle.
        device: CUDA's or the emulated one.
        batch: the smallest and the largest.
    """
    torch.backends.cudnn.deterministic = True  # a graph is held against plain calls bit for bit
    manifest = Manifest.read(folder)
    engines = [TorchEngine(folder / file, batch, device) for file in (ENGINE_ONNX_FILE, CLASSIFIER_FILE)]
    model = manifest.contract, len(manifest.classes), manifest.score
    return GpuPipeline(engines[0], device, *model, engines[1], shortlist=manifest.shortlist)


def placed(array: np.ndarray, device: Device) -> Tensor:
    """A tensor in the device's memory with the array's contents."""
    if not isinstance(device, EmulatedDevice):
        return torch.from_numpy(array).to(f"cuda:{device.ordinal}")
    memory = device.allocate(array.nbytes)
    there = DeviceArray(memory.address, array.shape, array.dtype, array.nbytes // len(array), device, owner=memory)
    tensor: Tensor = torch.from_dlpack(there)
    return tensor.copy_(torch.from_numpy(array))


class TorchEngine:
    """A `CompiledEngine` over an ONNX file whose operators are in OPERATIONS."""

    def __init__(self, model: Path, batch: tuple[int, int], device: Device) -> None:
        self.device = device
        self.where = "cpu" if isinstance(device, EmulatedDevice) else f"cuda:{device.ordinal}"
        graph = onnx.load(model).graph
        self.constants: dict[str, Any] = {t.name: self._constant(t) for t in graph.initializer}
        self.nodes = []
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Cast" and node.input[0] in self.constants:  # weights stored in half: cast once
                self.constants[node.output[0]] = self.constants[node.input[0]].to(TYPES[attributes["to"]])
            else:
                self.nodes.append((OPERATIONS[node.op_type], tuple(node.input), tuple(node.output), attributes))
        if self.where != "cpu":
            torch.cuda.synchronize(self.where)  # weights are laid out on another stream than the pipeline's
        inputs, outputs = ({v.name: _spec(v) for v in values} for values in (graph.input, graph.output))
        self.signature = Signature(inputs, outputs, *batch)

    def _constant(self, tensor: TensorProto) -> Any:
        value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        if value.dtype == torch.int64:  # shapes and axes stay on the host: to read them would wait for the GPU
            return value.reshape(-1).tolist()
        value = value.to(self.where)
        return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value

    def execution(self, batch: int, addresses: Mapping[str, int], stream: Stream) -> TorchExecution:
        return TorchExecution(self, batch, dict(addresses), stream)

    def run(self, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values: dict[str, Any] = {**self.constants, **feed}
        for operation, inputs, outputs, attributes in self.nodes:
            got = operation(attributes, *(values[name] if name else None for name in inputs))
            values.update(zip(outputs, got if isinstance(got, tuple) else (got,), strict=True))
        return {name: values[name] for name in self.signature.outputs}

    def close(self) -> None:
        """It goes with its last reference."""


class TorchExecution:
    def __init__(self, engine: TorchEngine, batch: int, addresses: dict[str, int], stream: Stream) -> None:
        self.engine = engine
        specs = {**engine.signature.inputs, **engine.signature.outputs}
        shapes = {name: (batch, *spec.shape[1:]) for name, spec in specs.items()}
        self.views = {n: _view(addresses[n], shapes[n], spec.dtype, engine.where) for n, spec in specs.items()}
        self.stream = None if engine.where == "cpu" else torch.cuda.ExternalStream(stream.handle, engine.where)

    def enqueue(self, stream: Stream) -> None:
        if self.stream is None:
            self.engine.device.enqueue(stream, "engine", self._run)  # type: ignore[attr-defined]
            return
        with torch.cuda.stream(self.stream):
            self._run()

    def _run(self) -> None:
        with torch.inference_mode():
            got = self.engine.run({name: self.views[name] for name in self.engine.signature.inputs})
            for name, value in got.items():
                self.views[name].copy_(value)

    def why_not_capturable(self, stream: Stream) -> str | None:
        return None


class _Raw:
    """Device memory that PyTorch takes as it is."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: str) -> None:
        interface = {"data": (address, False), "shape": shape, "typestr": np.dtype(dtype).str, "strides": None}
        self.__cuda_array_interface__ = {**interface, "version": 2}


def _view(address: int, shape: tuple[int, ...], dtype: str, where: str) -> Tensor:
    if where != "cpu":
        return torch.as_tensor(_Raw(address, shape, dtype), device=where)
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = (ctypes.c_uint8 * nbytes).from_address(address)
    return torch.frombuffer(memory, dtype=getattr(torch, dtype)).view(shape)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    shape = tuple(side.dim_value if side.HasField("dim_value") else -1 for side in kind.shape.dim)
    return TensorSpec(value.name, str(TYPES[kind.elem_type]).removeprefix("torch."), shape)


def _reshape(a: Attributes, x: Tensor, shape: list[int]) -> Tensor:
    return x.reshape([x.shape[i] if side == 0 and not a.get("allowzero") else side for i, side in enumerate(shape)])


def _pad(a: Attributes, x: Tensor, pads: list[int], value: Tensor | None = None) -> Tensor:
    n = len(pads) // 2
    return F.pad(x, [pad for i in reversed(range(n)) for pad in (pads[i], pads[n + i])])


def _conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    x = F.pad(x, (left, right, top, bottom)) if (top, left) != (bottom, right) else x
    padding = (top, left) if (top, left) == (bottom, right) else (0, 0)
    return F.conv2d(x, w, b, a.get("strides", (1, 1)), padding, a.get("dilations", (1, 1)), a.get("group", 1))


def _deconv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    pads = a.get("pads", (0, 0, 0, 0))
    assert pads[:2] == pads[2:], pads
    more = a.get("output_padding", (0, 0))
    return F.conv_transpose2d(x, w, b, a.get("strides", (1, 1)), pads[:2], more, a.get("group", 1))


def _gemm(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    assert a.get("alpha", 1) == a.get("beta", 1) == 1 and not a.get("transA")
    return F.linear(x, w if a.get("transB") else w.t(), b)


def _gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    assert not a.get("axis", 0)
    return x[indices]


def _top(a: Attributes, x: Tensor, count: list[int]) -> tuple[Tensor, Tensor]:
    values, indices = torch.topk(x, count[0], a.get("axis", -1), bool(a.get("largest", 1)), bool(a.get("sorted", 1)))
    return values, indices


def _unsqueeze(a: Attributes, x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


OPERATIONS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "Add": lambda a, x, y: x + y,
    "Cast": lambda a, x: x.to(TYPES[a["to"]]),
    "Clip": lambda a, x, low=None, high=None: torch.clamp(x, low, high),
    "Conv": _conv,
    "ConvTranspose": _deconv,
    "Div": lambda a, x, y: x / y,
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)),
    "Gather": _gather,
    "Gemm": _gemm,
    "InstanceNormalization": lambda a, x, w, b: F.instance_norm(x, weight=w, bias=b, eps=a.get("epsilon", 1e-5)),
    "LogSoftmax": lambda a, x: F.log_softmax(x, a.get("axis", -1)),
    "MaxPool": lambda a, x: F.max_pool2d(x, a["kernel_shape"], a.get("strides"), a.get("pads", (0, 0))[:2]),
    "Mul": lambda a, x, y: x * y,
    "Pad": _pad,
    "ReduceMean": lambda a, x, axes: x.mean(axes, keepdim=bool(a.get("keepdims", 1))),
    "Relu": lambda a, x: F.relu(x),
    "Reshape": _reshape,
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Sqrt": lambda a, x: torch.sqrt(x),
    "Sub": lambda a, x, y: x - y,
    "TopK": _top,
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
