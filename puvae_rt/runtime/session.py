"""ONNX Runtime sessions: the one place that opens them.

A session is checked when it is opened: its file, the names, element types and sizes of its tensors, and one run on
zeros. It is guarded when it runs: no exception of ONNX Runtime's own leaves it. It survives a fork (see `Session`).
Binding pre-allocated outputs was tried and gains 1% on one frame: not worth its code; a session's arena already keeps
every buffer between runs.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from puvae_rt.errors import BuildError, BundleError, ContractError, EngineError, FileError
from puvae_rt.files import MAX_MEMBER_BYTES, open_regular
from puvae_rt.runtime import fork

Array = npt.NDArray[Any]

FLOAT, INT64 = "tensor(float)", "tensor(int64)"
ANY_FLOAT = (FLOAT, "tensor(float16)", "tensor(double)")
REBUILD = "rebuild the bundle"

_SILENT = 4  # of ONNX Runtime's log: whatever it has to say comes back as an exception, too
_SPIN_US = 50  # of a thread without work inside a call; an older ONNX Runtime ignores it
_TRIAL = 2  # images of zeros: with a single one, a batch that the graph fixes to 1 would go unnoticed


class Tensor(NamedTuple):
    """An input or output as the model declares it; a free side has a name or is None."""

    type: str  # e.g. "tensor(float)"
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        return f"{self.type} [{','.join('?' if side is None else str(side) for side in self.shape)}]"


class Wanted(NamedTuple):
    """What an input or output has to be: [N, *shape], N free, of one of `types`."""

    shape: tuple[int, ...]
    types: tuple[str, ...] = (FLOAT,)

    def __str__(self) -> str:
        return f"{' or '.join(self.types)} [{','.join(map(str, ('N', *self.shape)))}]"

    def allows(self, tensor: Tensor) -> bool:
        """Whether a declared tensor fits; sides that it leaves free are checked by the trial run."""
        if tensor.type not in self.types or len(tensor.shape) != len(self.shape) + 1:
            return False
        sides = zip(tensor.shape[1:], self.shape, strict=True)
        return not isinstance(tensor.shape[0], int) and all(got == want for got, want in sides if isinstance(got, int))


class Session:
    """An open model. May run from many threads at once.

    In a child made by a fork, the threads of the parent's session do not exist: running it could wait for them for
    ever, and so could freeing it. So the child never frees it, and opens one of its own at its first run.

    Attributes:
        name: what messages call it: the file.
        inputs, outputs: the declared tensors by name.
    """

    def __init__(self, name: str, remedy: str, open_model: Callable[[], ort.InferenceSession]) -> None:
        self.name, self._remedy, self._open_model = name, remedy, open_model
        self._lock = threading.Lock()
        self._session: ort.InferenceSession | None = self._open()
        self.inputs, self.outputs = (
            {tensor.name: Tensor(tensor.type, tuple(tensor.shape)) for tensor in tensors}
            for tensors in (self._session.get_inputs(), self._session.get_outputs())
        )
        fork.register(self)

    def run(self, outputs: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """The named outputs.

        Raises:
            EngineError: ONNX Runtime fails; its message is in it.
            BundleError: after a fork, the model's file cannot be opened again.
        """
        session = self._session or self._reopened()
        try:
            return session.run(outputs, feed)  # type: ignore[no-any-return]
        except Exception as error:  # its exceptions share no base class of their own
            raise EngineError(f"{self.name}: failed on {_shapes(feed)} ({_reason(error)}); {self._remedy}") from error

    def check(self, inputs: Mapping[str, Wanted], outputs: Mapping[str, Wanted]) -> None:
        """Holds the model against what it has to be: exactly these inputs, at least these outputs.

        Raises:
            BundleError: other names, types or sizes, declared or met by a run on images of zeros.
        """
        fits = all(name in self.inputs and want.allows(self.inputs[name]) for name, want in inputs.items())
        if not fits or len(self.inputs) != len(inputs):
            raise self._refusal("inputs", self.inputs, inputs)
        if not all(name in self.outputs and want.allows(self.outputs[name]) for name, want in outputs.items()):
            raise self._refusal("outputs", self.outputs, outputs)
        zeros = {name: np.zeros((_TRIAL, *want.shape), np.float32) for name, want in inputs.items()}
        try:
            results = self.run(list(outputs), zeros)
        except EngineError as error:
            raise BundleError(f"{error} (tried with images of zeros)") from error
        shapes = map(np.shape, results)
        got = {name: Tensor(self.outputs[name].type, shape) for name, shape in zip(outputs, shapes, strict=True)}
        if any(tensor.shape != (_TRIAL, *outputs[name].shape) for name, tensor in got.items()):
            raise self._refusal(f"outputs for {_TRIAL} images", got, outputs)

    def _refusal(self, what: str, got: Mapping[str, Tensor], want: Mapping[str, Wanted]) -> BundleError:
        return BundleError(f"{self.name}: {what} are {_listed(got)}, expected {_listed(want)}; {self._remedy}")

    def _open(self) -> ort.InferenceSession:
        try:
            return self._open_model()
        except Exception as error:
            message = f"{self.name}: ONNX Runtime refuses it ({_reason(error)}); {self._remedy}"
            raise BundleError(message) from error

    def _reopened(self) -> ort.InferenceSession:
        with self._lock:
            if self._session is None:
                try:
                    self._session = self._open()
                except BundleError as error:
                    raise BundleError(
                        f"{error}; or load it in this process, which was forked after the load"
                    ) from error
            return self._session

    def after_fork(self) -> None:
        """In a child: gives up the parent's session without freeing it."""
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
        self._session, self._lock = None, threading.Lock()  # the old lock may be held by a thread that is no more

    def __reduce__(self) -> NoReturn:
        raise ContractError(
            f"{self.name}: an open model cannot be pickled or copied, expected one opened where it is used; load the "
            "purifier in the worker, e.g. in its pool's initializer"
        )


def open_session(
    model: Path | bytes,
    threads: int,
    *,
    optimized: bool = False,
    save_optimized: Path | None = None,
    name: str = "",
    remedy: str = REBUILD,
    one_file: bool = True,
) -> Session:
    """A model in a session on the CPU.

    Args:
        model: an .onnx file, or a model's bytes.
        threads: of this session.
        optimized: the file went through the optimizer already (`save_optimized` wrote it).
        save_optimized: where to write the model as optimized for this processor.
        name: what messages call it; by default the file.
        remedy: how to mend a model that is refused.
        one_file: refuse weights in other files; otherwise they may lie beside the model, in its folder.
    Raises:
        BundleError: no regular file, too large, weights in a place that is not allowed, or refused by ONNX Runtime.
    """
    name = name or (str(model) if isinstance(model, Path) else "the graph in memory")
    if isinstance(model, Path):
        _check_file(model, remedy, one_file)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graph is a chain
    options.log_severity_level = _SILENT
    # Its threads wait for work by spinning. Between two calls they would take the processors from everyone else, the
    # next session of the same pipeline included (the demo: 27 -> 41 frames a second, and no slower alone); between two
    # layers, for a short time only: on a busy machine (load 14 on 2 processors) that takes two threads' median
    # from 19-27 to 4-15 ms, and they still meet the next layer awake while the machine is theirs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    if optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save_optimized is not None:
        options.optimized_model_filepath = str(save_optimized)
    source = str(model) if isinstance(model, Path) else model
    return Session(
        name,
        remedy,
        lambda: ort.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=False),
    )


def write_optimized(model: Path | bytes, threads: int, target: Path) -> None:
    """Write `model` as ONNX Runtime optimizes it for this processor.

    Raises:
        BundleError: ONNX Runtime refuses the model.
        FileError: `target` could not be written; ONNX Runtime says that in the same way.
    """
    try:
        open_session(model, threads, save_optimized=target)
    except BundleError as error:
        open_session(model, threads)  # raises where the model is at fault
        problem = (
            "the optimized graph could not be written, expected a folder that can be written, with room on its disk; "
            "is the disk full?"
        )
        raise FileError(errno.EIO, problem, str(target)) from error


def _check_file(model: Path, remedy: str, one_file: bool) -> None:
    """Refuses what ONNX Runtime would wait for, run out of memory with, or follow out of the model's folder."""
    try:
        str(model).encode()
    except UnicodeEncodeError as error:
        raise BundleError(
            f"{model}: a name that is no UTF-8, expected one that ONNX Runtime takes; rename the file or its folders"
        ) from error
    try:
        with open_regular(model, MAX_MEMBER_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if data.find(b"location") < 0:  # the key under which a tensor tells where its data lies
                    return
        for location in external_files(model):
            if one_file:
                raise BundleError(f"{model}: keeps its weights in {location}, expected one file; {remedy}")
            open_regular(model.parent / location, MAX_MEMBER_BYTES, within=model.parent).close()
    except FileError as error:
        raise BundleError(f"{error}; {remedy}") from error


def external_files(model: Path) -> list[str]:
    """The files beside an ONNX model that hold some of its tensors; none for a file that is no model."""
    from puvae_rt import onnx_io  # lazily: `onnx` takes a tenth of a second that almost no load needs

    try:
        return onnx_io.external_files(onnx_io.load(model))
    except BuildError:  # ONNX Runtime will say what is wrong with it
        return []


def _listed(tensors: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {tensor}" for name, tensor in tensors.items()) or "none"


def _shapes(feed: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {value.dtype} {list(value.shape)}" for name, value in feed.items())


def _reason(error: Exception) -> str:
    """The first line of what ONNX Runtime says."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
