"""An engine loaded on the current GPU, with one execution context for each captured shape."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from puvae_rt.device import Stream
from puvae_rt.errors import BundleError
from puvae_rt.gpu.compiled import Signature
from puvae_rt.gpu.tensorrt import library
from puvae_rt.gpu.tensorrt.log import RunLog
from puvae_rt.gpu.tensorrt.runtime_cache import RuntimeCache, path_for
from puvae_rt.runtime.manifest import TensorSpec

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT64": "int64", "INT32": "int32"}
_PROFILE = 0  # build_plan makes one


class TrtEngine:
    """A serialized engine on the current GPU.

    Args:
        target: "rtx" or "tensorrt".
        plan: the serialized engine, its origin verified by the caller.
        where: names it in errors.
        gpu: the GPU's name. TensorRT-RTX's kernels for it are kept in the user's cache.
    Raises:
        TargetUnavailableError: no such library.
        DeviceError: it refuses the engine; its own log is in the message.
    """

    def __init__(self, target: str, plan: bytes, where: Path, gpu: str = "") -> None:
        trt = library.load(target)
        self._trt, self._where, self.log = trt, where, RunLog()
        self._logger = self.log.attach(trt)
        self._runtime = self.log.require("Runtime", trt.Runtime(self._logger))
        engine = self._runtime.deserialize_cuda_engine(plan)
        self._engine = self.log.require(
            "deserialize_cuda_engine", engine, f"{where}; rebuild the bundle on this machine"
        )
        self.signature = self._read_signature()
        self._kernels: RuntimeCache | None = None
        self._kernels_path = path_for(plan, trt.__version__, gpu)
        self._lock = threading.Lock()

    def _read_signature(self) -> Signature:
        trt, engine = self._trt, self._engine
        inputs: dict[str, TensorSpec] = {}
        outputs: dict[str, TensorSpec] = {}
        batches = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            dtype, shape = engine.get_tensor_dtype(name).name, tuple(engine.get_tensor_shape(name))
            if dtype not in _DTYPES:
                raise BundleError(f"{self._where}: tensor {name} is {dtype}, expected {', '.join(_DTYPES)}; rebuild it")
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (inputs if is_input else outputs)[name] = TensorSpec(name, _DTYPES[dtype], shape)
            if is_input:
                low, _, high = engine.get_tensor_profile_shape(name, _PROFILE)
                batches.append((low[0], high[0]))
        return Signature(inputs, outputs, max(low for low, _ in batches), min(high for _, high in batches))

    def execution(self, batch: int, addresses: Mapping[str, int], stream: Stream) -> TrtExecution:
        context = self.log.require("create_execution_context", self._create_context())
        for name, spec in self.signature.inputs.items():
            self.log.require_ok(f"set_input_shape({name})", context.set_input_shape(name, (batch, *spec.shape[1:])))
        for name in {**self.signature.inputs, **self.signature.outputs}:
            self.log.require_ok(f"set_tensor_address({name})", context.set_tensor_address(name, addresses[name]))
        if missing := context.infer_shapes():
            raise self.log.error("infer_shapes", f"no shape for {', '.join(missing)}")
        return TrtExecution(context, self.log, self._kernels)

    def _create_context(self) -> Any:
        """TensorRT-RTX compiles kernels for a shape while it runs, unless told to do so at once: a captured graph
        would keep the slow ones."""
        trt, engine = self._trt, self._engine
        if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            return engine.create_execution_context()
        config = self.log.require("create_runtime_config", engine.create_runtime_config())
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # the pipeline captures more than the engine
        with self._lock:
            self._kernels = self._kernels or RuntimeCache(config, self.log, self._kernels_path)
        self._kernels.attach(config)
        return engine.create_execution_context(runtime_config=config)

    def close(self) -> None:
        """Executions keep the engine alive as long as they need it."""
        self._engine = self._runtime = None


class TrtExecution:
    """A context with its shape and addresses set, for one stream at a time."""

    def __init__(self, context: Any, log: RunLog, kernels: RuntimeCache | None = None) -> None:
        self._context, self._log, self._kernels = context, log, kernels
        self._first = True

    def enqueue(self, stream: Stream) -> None:
        self._log.require_ok("execute_async_v3", self._context.execute_async_v3(stream.handle))
        if self._first and self._kernels is not None:
            self._kernels.keep()  # all that this shape needs is compiled by now
        self._first = False

    def why_not_capturable(self, stream: Stream) -> str | None:
        context = self._context
        if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(stream.handle):
            return "TensorRT says that this engine's work cannot be captured in this stream"
        return None
