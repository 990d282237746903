"""TensorRT's Python module over the emulated device: a serialized engine is an ONNX file, run by ONNX Runtime.

Its names and signatures are held to TensorRT's own by test_trt.py.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.device.emulated.schedule import Operation
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.session import open_session


class DataType(Enum):
    FLOAT, HALF, INT32 = "tensor(float)", "tensor(float16)", "tensor(int32)"


class TensorIOMode(Enum):
    INPUT, OUTPUT = range(2)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None:
        self.initialised = True  # the real one crashes without


class ComputeCapability(Enum):
    SM75, SM80, SM86, SM89, SM120, SM121 = range(6)


NUMPY = {DataType.FLOAT: "float32", DataType.HALF: "float16", DataType.INT32: "int32"}


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._shapes, self._addresses, self._runs = engine, {}, {}, 0
        self._running = [0]  # apart from the context: work that is enqueued does not keep it alive
        engine._fake.contexts += 1
        assert engine._fake.gpu_is_current(), "a context takes memory on the thread's current GPU"

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        self._shapes[name] = shape
        return low[0] <= shape[0] <= high[0]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert self._runs == 0, "addresses are set once, before the first run"
        assert memory % 256 == 0, "the pointer must have at least 256-byte alignment (IExecutionContext)"
        self._addresses[name] = memory
        return memory != 0

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine._inputs if name not in self._shapes]

    def execute_async_v3(self, stream_handle: int) -> bool:
        fake = self._engine._fake
        assert fake.gpu_is_current(), "kernels are launched on the thread's current GPU"
        if fake.refuse_enqueue:
            fake.logger.log(ILogger.ERROR, "enqueueV3: the kernel of layer 7 is missing")
            return False
        if not self._runs and fake.device._streams[stream_handle].capture is not None:
            raise AssertionError("TensorRT wants one run before a capture")
        self._runs += 1
        run = _work(self._engine, next(iter(self._shapes.values()))[0], dict(self._addresses), self._running)
        fake.device.schedule.enqueue(fake.device._queue(stream_handle), run)
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return self._runs > 0 and self._engine._fake.capturable

    def __del__(self) -> None:
        self._engine._fake.freed_while_running += bool(self._running[0])


def _work(engine: ICudaEngine, batch: int, addresses: dict[str, int], running: list[int]) -> Callable[[], Operation]:
    device = engine._fake.device

    def view(name: str) -> Any:
        shape = (batch, *engine.get_tensor_shape(name)[1:])
        return device.array(addresses[name], shape, NUMPY[engine.get_tensor_dtype(name)])

    def run() -> None:
        running[0] -= 1
        feed = {name: view(name) for name in engine._inputs}
        for name, value in zip(engine._outputs, engine._session.run(engine._outputs, feed), strict=True):
            view(name)[...] = value

    def enqueue() -> Operation:
        running[0] += 1
        return Operation("enqueueV3", run)

    return enqueue


class ICudaEngine:
    def __init__(self, fake: FakeTensorrt, plan: bytes) -> None:
        self._fake, self._session = fake, open_session(plan, available_cpus())
        self._inputs, self._outputs = tuple(self._session.inputs), tuple(self._session.outputs)
        self._tensors = self._session.inputs | self._session.outputs
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._tensors[name].type)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self._tensors[name].shape[1:])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        return [(size, *self.get_tensor_shape(name)[1:]) for size in (1, 1, 8)]

    def create_execution_context(self, runtime_config: IRuntimeConfig | None = None) -> IExecutionContext:
        context = IExecutionContext(self)
        if runtime_config is not None:
            runtime_config._used(self)
        return context

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig(self._fake)


class IRuntimeCache:
    """Holds the name of each engine's only kernel, once it is compiled."""

    def __init__(self, fake: FakeTensorrt) -> None:
        self._fake, self._kernels = fake, b""

    def deserialize(self, blob: bytes) -> bool:
        assert self._fake.gpu_is_current(), "it is compared with the thread's current GPU"
        environment, _, kernels = blob.partition(b":")
        self._kernels = kernels if environment == self._fake.environment else self._kernels
        return environment == self._fake.environment

    def serialize(self) -> bytes:
        return self._fake.environment + b":" + self._kernels


class IRuntimeConfig:
    def __init__(self, fake: FakeTensorrt) -> None:
        self._fake, self._cache = fake, None

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache(self._fake)

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._cache = cache
        return True

    def _used(self, engine: ICudaEngine) -> None:
        """By a context, which compiles what the cache lacks."""
        assert self.dynamic_shapes_kernel_specialization_strategy is Strategy.EAGER
        assert self.cuda_graph_strategy is Strategy.DISABLED
        kernel = f"kernel of {engine.num_io_tensors} tensors;".encode()
        if kernel not in self._cache._kernels:
            self._cache._kernels += kernel
            self._fake.compiled += 1


class Strategy(Enum):
    EAGER, DISABLED = range(2)


class FakeTensorrt:
    """The module; a `Runtime` of it that gets bytes which are no model says why and gives nothing."""

    __version__ = "1.0"
    DataType, TensorIOMode, ILogger, ComputeCapability = DataType, TensorIOMode, ILogger, ComputeCapability

    def __init__(self, device: EmulatedDevice, gpu_is_current: Callable[[], bool]) -> None:
        self.device, self.contexts, self.refuse_enqueue = device, 0, False
        self.capturable, self.freed_while_running = True, 0
        self.compiled, self.environment = 0, b"driver 1"
        self.gpu_is_current = gpu_is_current
        fake = self

        class Runtime:
            def __init__(self, logger: Any) -> None:
                assert logger.initialised
                fake.logger = logger

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
                try:
                    return ICudaEngine(fake, serialized_engine)
                except Exception:
                    fake.logger.log(ILogger.ERROR, "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
                    return None

        self.Runtime = Runtime


class FakeTensorrtRtx(FakeTensorrt):
    """With what TensorRT-RTX has beyond TensorRT."""

    DynamicShapesKernelSpecializationStrategy = CudaGraphStrategy = Strategy
