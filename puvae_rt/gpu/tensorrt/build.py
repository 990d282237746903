"""TensorRT and TensorRT-RTX through one code path: a strongly typed ONNX model in, a serialized engine out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from export import layers
from puvae_rt.errors import BuildError, ContractError, TargetUnavailableError

Shape = tuple[int, ...]


class Library(NamedTuple):
    module: str
    name: str
    remedy: str
    ahead_of_time: bool  # compiles for GPUs that are not in this machine


LIBRARIES = {
    "rtx": Library("tensorrt_rtx", "TensorRT-RTX", "install it with `python -m pip install 'puvae-rt[rtx]'`", True),
    "tensorrt": Library(
        "tensorrt",
        "TensorRT",
        "install it on the board that is to run the engine (Jetson: JetPack's own, `sudo apt-get install "
        "python3-libnvinfer`, in a venv with --system-site-packages; DRIVE: the one of its DriveOS; data-centre GPU: "
        "`python -m pip install tensorrt`, which fetches it from NVIDIA's index)",
        False,
    ),
}
COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")  # of TensorRT-RTX
# One engine serves all of these in the same kernels; adding 7.5 costs the others two launches a frame.
DEFAULT_COMPUTE_CAPABILITIES = COMPUTE_CAPABILITIES[1:]
MAX_ERRORS = 20  # lines of the library's log in an exception


@dataclass(frozen=True)
class Plan:
    data: bytes
    layers: tuple[layers.ListedLayer, ...]
    seconds: float  # of the build
    version: str


def build_plan(
    target: str,
    model: bytes,
    batch: tuple[int, ...],
    shapes: Mapping[str, Shape],
    compute_capabilities: tuple[str, ...] = (),
) -> Plan:
    """Compiles an ONNX model whose types are its precisions.

    Args:
        target: a key of LIBRARIES.
        model: a serialized ONNX model.
        batch: sizes of the free first axis; tuned for the smallest, valid from there to the largest.
        shapes: input name -> its shape without the batch.
        compute_capabilities: GPUs to compile for, "8.6"; only TensorRT-RTX takes them.
    Raises:
        TargetUnavailableError: the library is absent.
        BuildError: it refused the model, with its own log.
    """
    trt, log = load(target), _Log()
    start = time.perf_counter()
    logger = log.attach(trt)
    builder = log.got(trt.Builder(logger), "Builder")
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # the number differs between versions
    network = log.got(builder.create_network(flags), "create_network")
    parser = log.got(trt.OnnxParser(network, logger), "OnnxParser")
    log.done(parser.parse(model), "OnnxParser.parse", _parser_errors(parser))
    config = log.got(builder.create_builder_config(), "create_builder_config")
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 means FP32
    _set_compute_capabilities(trt, config, log, compute_capabilities)
    _add_profile(builder, config, log, batch, shapes)
    data = bytes(log.got(builder.build_serialized_network(network, config), "build_serialized_network"))
    seconds = time.perf_counter() - start
    return Plan(data, tuple(_layers(target, trt, logger, log, data)), seconds, str(trt.__version__))


def load(target: str) -> Any:
    """The target's Python module; TargetUnavailableError says what to install where."""
    library = LIBRARIES[target]
    try:
        return import_module(library.module)
    except (ImportError, OSError) as error:  # OSError: the binding is there, its native library is not
        raise TargetUnavailableError(
            f"target {target!r}: {library.name} is not usable here ({error}); {library.remedy}"
        ) from error


def check_compute_capabilities(target: str, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    """What to compile for; ContractError when the target cannot."""
    ahead = target in LIBRARIES and LIBRARIES[target].ahead_of_time
    if asked is None:
        return DEFAULT_COMPUTE_CAPABILITIES if ahead else ()
    if not ahead:
        raise ContractError(
            f"--compute-capability {' '.join(asked)}: target {target!r} builds for the machine it runs on; leave it out"
        )
    if unknown := [capability for capability in asked if capability not in COMPUTE_CAPABILITIES]:
        raise ContractError(
            f"--compute-capability {' '.join(unknown)}: expected some of {', '.join(COMPUTE_CAPABILITIES)}"
        )
    return tuple(sorted(set(asked), key=COMPUTE_CAPABILITIES.index))


def _set_compute_capabilities(trt: Any, config: Any, log: _Log, capabilities: tuple[str, ...]) -> None:
    if not capabilities:
        return
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        value = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
        log.done(config.set_compute_capability(value, index), f"set_compute_capability({capability})")


def _add_profile(builder: Any, config: Any, log: _Log, batch: tuple[int, ...], shapes: Mapping[str, Shape]) -> None:
    """One profile for all sizes. A single size gets a range as well: for a batch fixed at 1, TensorRT-RTX splits a
    fully connected layer into a product and a sum, one launch more."""
    low, high = min(batch), max(batch)
    profile = log.got(builder.create_optimization_profile(), "create_optimization_profile")
    for name, shape in shapes.items():
        profile.set_shape(name, (low, *shape), (low, *shape), (max(high, low + 1), *shape))
    if config.add_optimization_profile(profile) < 0:
        raise log.error("add_optimization_profile: the profile was refused")


def _layers(target: str, trt: Any, logger: Any, log: _Log, data: bytes) -> list[layers.ListedLayer]:
    """Ahead of time there is no GPU to load the engine on: the list is in the build log."""
    if LIBRARIES[target].ahead_of_time:
        return layers.from_log(log.messages)
    runtime = log.got(trt.Runtime(logger), "Runtime")
    engine = log.got(runtime.deserialize_cuda_engine(data), "deserialize_cuda_engine")
    inspector = log.got(engine.create_engine_inspector(), "create_engine_inspector")
    return layers.from_inspector(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _parser_errors(parser: Any) -> str:
    return "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))


class _Log:
    """Everything the library says, and its return values checked: what it said goes into the exception."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._problems: list[str] = []

    def attach(self, trt: Any) -> Any:
        """A logger of the library's own type that writes here."""
        worst = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING)
        messages, problems = self.messages, self._problems

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)  # super() is not enough for these bindings

            def log(self, severity: Any, message: str) -> None:
                messages.append(message)
                if severity in worst:
                    problems.append(message)

        return Logger()

    def got(self, value: Any, call: str) -> Any:
        if value is None:
            raise self.error(f"{call} gave nothing")
        return value

    def done(self, success: bool, call: str, detail: str = "") -> None:
        if not success:
            raise self.error(f"{call} failed{': ' if detail else ''}{detail}")

    def error(self, what: str) -> BuildError:
        said = "\n  ".join(self._problems[-MAX_ERRORS:]) or "nothing"
        return BuildError(f"{what}; expected an engine. The compiler said:\n  {said}")
