"""The C interface (native/include/puvae.h) in ctypes, which releases the GIL during every call."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int32, c_int64, c_size_t, c_void_p, sizeof
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from puvae_rt.errors import BundleError, ClosedError, EngineError, InputError, PuvaeError, TargetUnavailableError

Floats = npt.NDArray[np.float32]
OK = 0


class Instructions(IntEnum):
    """What an engine computes with."""

    AUTO, SCALAR, PORTABLE, AVX2, AVX512 = range(5)


class Format(IntEnum):
    """How a frame's pixels lie."""

    GRAY, BGR, RGB, NV12 = range(4)


_ERRORS: dict[int, type[PuvaeError]] = {
    1: InputError,
    2: BundleError,
    3: EngineError,  # no memory
    4: EngineError,  # busy
    5: TargetUnavailableError,
    6: EngineError,
}


class EngineOptions(ctypes.Structure):
    """puvae_engine_options."""

    _fields_ = (("struct_size", c_size_t), ("instructions", c_int32))


class EngineInfo(ctypes.Structure):
    """puvae_engine_info."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("channels", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("classes", c_int32),
        ("decoded", c_int32),
        ("has_classifier", c_int32),
        ("instructions", c_int32),
        ("engine_bytes", c_size_t),
        ("context_bytes", c_size_t),
    )


class Frame(ctypes.Structure):
    """puvae_frame."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("format", c_int32),
        ("pixels", c_void_p),
        ("stride", c_int64),
        ("chroma", c_void_p),
        ("chroma_stride", c_int64),
        ("width", c_int32),
        ("height", c_int32),
    )


class Region(ctypes.Structure):
    """puvae_region."""

    _fields_ = (("x", c_int32), ("y", c_int32), ("width", c_int32), ("height", c_int32))


class Result(ctypes.Structure):
    """puvae_result."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("image", c_void_p),
        ("rmse", c_void_p),
        ("score", c_void_p),
        ("projected", c_int32),
        ("label", c_int32),
        ("degraded", c_int32),
        ("least_rmse", c_float),
        ("preprocess_ns", c_int64),
        ("purify_ns", c_int64),
        ("classify_ns", c_int64),
    )


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "puvae_version": (c_char_p, ()),
    "puvae_last_message": (c_char_p, ()),
    "puvae_engine_open": (c_int32, (c_char_p, POINTER(EngineOptions), POINTER(c_void_p))),
    "puvae_engine_open_memory": (c_int32, (c_char_p, c_size_t, POINTER(EngineOptions), POINTER(c_void_p))),
    "puvae_engine_close": (None, (c_void_p,)),
    "puvae_engine_get_info": (c_int32, (c_void_p, POINTER(EngineInfo))),
    "puvae_engine_class_name": (c_char_p, (c_void_p, c_int32)),
    "puvae_context_open": (c_int32, (c_void_p, POINTER(c_void_p))),
    "puvae_context_close": (c_int32, (c_void_p,)),
    "puvae_run": (c_int32, (c_void_p, POINTER(Frame), POINTER(Region), c_size_t, POINTER(Result))),
    "puvae_run_image": (c_int32, (c_void_p, c_void_p, POINTER(Result))),
    "puvae_preprocess": (c_int32, (c_void_p, POINTER(Frame), POINTER(Region), c_void_p)),
}


class Outcome(NamedTuple):
    """What one call gave: purified image [C,H,W], its class, the classifier's, rmse and score [K], milliseconds."""

    image: Floats
    projected: int
    label: int
    rmse: Floats
    score: Floats
    milliseconds: tuple[float, float, float]  # preprocess, purify, classify


class Library:
    """libpuvae, loaded.

    Args:
        path: of the shared library.
    Raises:
        TargetUnavailableError: it cannot be loaded here, or is no libpuvae.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.functions = ctypes.CDLL(str(path))
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(self.functions, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise TargetUnavailableError(f"{path}: {error}, expected a libpuvae for this machine") from error

    @property
    def version(self) -> str:
        """The library's own version."""
        return str(self.functions.puvae_version().decode())

    def check(self, status: int) -> None:
        """Raises the error that a status other than OK stands for, with the library's sentence."""
        if status != OK:
            text = self.functions.puvae_last_message().decode(errors="replace")
            raise _ERRORS.get(status, EngineError)(f"libpuvae: {text}")


class NativeModel:
    """An open engine.puvae, to be used from any number of threads.

    Args:
        library: to run it with.
        source: the file, or its bytes.
        instructions: what to compute with.
    Raises:
        BundleError: the file is absent, damaged or of another version.
        TargetUnavailableError: this processor lacks the instructions.
        EngineError: no memory.
    """

    def __init__(self, library: Library, source: Path | bytes, instructions: int = Instructions.AUTO) -> None:
        self.library, self._handle = library, c_void_p()
        options = EngineOptions(sizeof(EngineOptions), instructions)
        functions, handle = library.functions, byref(self._handle)
        if isinstance(source, bytes):
            status = functions.puvae_engine_open_memory(source, len(source), byref(options), handle)
        else:
            status = functions.puvae_engine_open(bytes(source), byref(options), handle)
        library.check(status)
        info = EngineInfo(sizeof(EngineInfo))
        library.check(library.functions.puvae_engine_get_info(self._handle, byref(info)))
        self.info = info

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        name = self.library.functions.puvae_engine_class_name
        return tuple(name(self._handle, k).decode() for k in range(self.info.classes))

    def context(self) -> NativeContext:
        """Working memory for one call at a time; ClosedError after `close`."""
        return NativeContext(self, self._handle)

    def close(self) -> None:
        """Frees the weights once the contexts are closed, too; a second time is allowed."""
        handle, self._handle = self._handle, c_void_p()
        self.library.functions.puvae_engine_close(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()


class NativeContext:
    """The memory of one call at a time. It goes on when its model is closed."""

    def __init__(self, model: NativeModel, engine: c_void_p) -> None:
        self._handle = c_void_p()
        if not engine:
            raise ClosedError("the native engine is closed; load it again")
        self._library, info = model.library, model.info
        self._shape, self._classes = (info.channels, info.height, info.width), int(info.classes)
        self._library.check(self._library.functions.puvae_context_open(engine, byref(self._handle)))

    def run_image(self, image: Floats) -> Outcome:
        """The projection of an image [C,H,W] in [0,1]; InputError for other numbers, EngineError for a busy context."""
        pixels = np.ascontiguousarray(image, np.float32)
        if pixels.shape != self._shape:
            raise InputError(f"image: got shape {pixels.shape}, expected {self._shape}; resize it")
        result, arrays = self._result()
        run = self._library.functions.puvae_run_image
        self._library.check(run(self._handle, pixels.ctypes.data, byref(result)))
        return _outcome(result, arrays)

    def run(self, frame: npt.NDArray[np.uint8], region: tuple[int, int, int, int]) -> Outcome:
        """The same of a region (x, y, width, height) of a frame, BGR [H,W,3] or gray [H,W]."""
        described, kept = described_frame(frame)
        result, arrays = self._result()
        run = self._library.functions.puvae_run
        self._library.check(run(self._handle, byref(described), byref(Region(*region)), 1, byref(result)))
        del kept
        return _outcome(result, arrays)

    def preprocess(self, frame: Frame, region: tuple[int, int, int, int] | None = None) -> Floats:
        """What the model sees of a region, [C,H,W] in [0,1]; None is the whole frame."""
        image = np.empty(self._shape, np.float32)
        part = None if region is None else byref(Region(*region))
        run = self._library.functions.puvae_preprocess
        self._library.check(run(self._handle, byref(frame), part, image.ctypes.data))
        return image

    def close(self) -> None:
        """Frees the memory; a second time is allowed. EngineError while a call is under way."""
        self._library.check(self._library.functions.puvae_context_close(self._handle))
        self._handle = c_void_p()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def _result(self) -> tuple[Result, tuple[Floats, Floats, Floats]]:
        image = np.empty(self._shape, np.float32)
        rmse, score = (np.empty(self._classes, np.float32) for _ in range(2))
        places = (array.ctypes.data for array in (image, rmse, score))
        return Result(sizeof(Result), *places), (image, rmse, score)


def described_frame(frame: npt.NDArray[np.uint8]) -> tuple[Frame, npt.NDArray[np.uint8]]:
    """A puvae_frame of BGR [H,W,3] or gray [H,W], and the array that it points into, to be kept as long."""
    height, width = frame.shape[:2]
    pixel = 3 if frame.ndim == 3 else 1
    packed = frame.strides[1:] == ((3, 1) if frame.ndim == 3 else (1,)) and frame.strides[0] >= width * pixel
    rows = frame if packed else np.ascontiguousarray(frame)
    kind = Format.BGR if frame.ndim == 3 else Format.GRAY
    return Frame(sizeof(Frame), kind, rows.ctypes.data, rows.strides[0], None, 0, width, height), rows


def _outcome(result: Result, arrays: tuple[Floats, Floats, Floats]) -> Outcome:
    image, rmse, score = arrays
    times = (result.preprocess_ns / 1e6, result.purify_ns / 1e6, result.classify_ns / 1e6)
    return Outcome(image, result.projected, result.label, rmse, score, times)
