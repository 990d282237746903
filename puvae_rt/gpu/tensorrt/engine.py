"""TensorRT and TensorRT-RTX at run time: load an engine, one execution context for each captured shape.

Only names that exist in TensorRT 10.3 to 11 and in TensorRT-RTX are used (tests/contracts holds that), except what is
asked for by `hasattr`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from puvae_rt.device import Properties, Stream
from puvae_rt.errors import BundleError, DeviceError, TargetUnavailableError
from puvae_rt.gpu.compiled import Signature
from puvae_rt.runtime.manifest import Manifest, TensorSpec

logger = logging.getLogger(__name__)

MODULES = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
_INSTALL = {
    "rtx": "install it with `python -m pip install 'puvae-rt[rtx]'`",
    "tensorrt": "install it: on Jetson with `sudo apt-get install python3-libnvinfer` and a venv with "
    "--system-site-packages, elsewhere with `python -m pip install tensorrt`",
}
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT64": "int64", "INT32": "int32"}
_FAILED = "TENSORRT_ERROR"
_KEPT_LINES = 20
_PROFILE = 0  # export.build makes one


def load_module(target: str) -> Any:
    """The Python module of a target; TargetUnavailableError says what to install."""
    try:
        return import_module(MODULES[target])
    except (ImportError, OSError) as error:  # OSError: the binding is there, its native library is not
        raise TargetUnavailableError(
            f"target {target!r}: no {MODULES[target]} ({error}); {_INSTALL[target]}"
        ) from error


def check_identity(manifest: Manifest, properties: Properties, version: str, where: Path) -> None:
    """BundleError when a bundle was built for another GPU or by another release than `version`.

    Asked before the engine's bytes reach the library: they hold native code.
    """
    module = MODULES[manifest.target]
    if (built := manifest.tools.get(module)) != version:
        raise BundleError(
            f"{where}: built by {module} {built or 'unknown'}, this machine has {version}; engines do not cross "
            f"releases: rebuild it here with `python -m export.build --target {manifest.target}`"
        )
    mine = ".".join(map(str, properties.compute_capability))
    supported = manifest.options.compute_capabilities
    if supported and mine not in supported:
        raise BundleError(
            f"{where}: built for compute capabilities {', '.join(supported)}, this GPU ({properties.name}) has {mine}; "
            f"rebuild it with `--compute-capability {mine}`, or with --target tensorrt on Jetson and data-centre GPUs"
        )


class TrtEngine:
    """A serialized engine on the current GPU.

    Args:
        target: "rtx" or "tensorrt".
        plan: the serialized engine, its origin verified by the caller.
        where: names it in errors.
    Raises:
        TargetUnavailableError: no such library.
        DeviceError: it refuses the engine; its own log is in the message.
    """

    def __init__(self, target: str, plan: bytes, where: Path) -> None:
        trt = load_module(target)
        self._trt, self._where, self.log = trt, where, Log()
        self._logger = self.log.attach(trt)
        self._runtime = self.log.got("Runtime", trt.Runtime(self._logger))
        engine = self._runtime.deserialize_cuda_engine(plan)
        self._engine = self.log.got("deserialize_cuda_engine", engine, f"{where}; rebuild the bundle on this machine")
        self.signature = self._read_signature()

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
        context = self.log.got("create_execution_context", self._create_context())
        for name, spec in self.signature.inputs.items():
            self.log.done(f"set_input_shape({name})", context.set_input_shape(name, (batch, *spec.shape[1:])))
        for name in {**self.signature.inputs, **self.signature.outputs}:
            self.log.done(f"set_tensor_address({name})", context.set_tensor_address(name, addresses[name]))
        if missing := context.infer_shapes():
            raise self.log.error("infer_shapes", f"no shape for {', '.join(missing)}")
        return TrtExecution(context, self.log)

    def _create_context(self) -> Any:
        """TensorRT-RTX compiles kernels for a shape while it runs, unless told to do so at once: a captured graph
        would keep the slow ones."""
        trt, engine = self._trt, self._engine
        if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            return engine.create_execution_context()
        config = self.log.got("create_runtime_config", engine.create_runtime_config())
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # the pipeline captures more than the engine
        return engine.create_execution_context(runtime_config=config)

    def close(self) -> None:
        """Executions keep the engine alive as long as they need it."""
        self._engine = self._runtime = None


class TrtExecution:
    """A context with its shape and addresses set, for one stream at a time."""

    def __init__(self, context: Any, log: Log) -> None:
        self._context, self._log = context, log

    def enqueue(self, stream: Stream) -> None:
        self._log.done("execute_async_v3", self._context.execute_async_v3(stream.handle))

    def why_not_capturable(self, stream: Stream) -> str | None:
        context = self._context
        if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(stream.handle):
            return "TensorRT says that this engine's work cannot be captured in this stream"
        return None


class Log:
    """What the library says: passed to Python's log, and its last lines put into exceptions."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def attach(self, trt: Any) -> Any:
        """A logger of the library's own type."""
        levels = {
            trt.ILogger.INTERNAL_ERROR: logging.ERROR,
            trt.ILogger.ERROR: logging.ERROR,
            trt.ILogger.WARNING: logging.WARNING,
            trt.ILogger.INFO: logging.DEBUG,
        }
        lines = self.lines

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)  # super() is not enough for these bindings

            def log(self, severity: Any, message: str) -> None:
                level = levels.get(severity, logging.NOTSET)
                if level > logging.DEBUG:
                    lines.append(message)
                if level > logging.NOTSET:
                    logger.log(level, "TensorRT: %s", message)

        return Logger()

    def got(self, call: str, value: Any, detail: str = "") -> Any:
        """`value`, unless the call gave nothing."""
        if value is None:
            raise self.error(call, detail)
        return value

    def done(self, call: str, success: bool) -> None:
        if not success:
            raise self.error(call, "refused")

    def error(self, call: str, detail: str) -> DeviceError:
        said = "\n  ".join(self.lines) or "nothing"
        return DeviceError(call, _FAILED, f"{detail}. TensorRT said:\n  {said}")
