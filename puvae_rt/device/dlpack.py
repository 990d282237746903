"""DLPack capsules, read and written: a tensor's address and shape handed from one library to another."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from puvae_rt.errors import InputError

_NAME, _USED = b"dltensor", b"used_dltensor"
_CODES = {"i": 0, "u": 1, "f": 2}  # numpy's kind -> DLDataTypeCode


class _Tensor(ctypes.Structure):
    """DLTensor, its device and its type spread out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _DELETER))


_python = ctypes.pythonapi
_new = _python.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_valid = _python.PyCapsule_IsValid
_valid.restype, _valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_valid_raw = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _python))
_pointer = _python.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_pointer_raw = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _python))
_rename = _python.PyCapsule_SetName
_rename.restype, _rename.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)

_exported: dict[int, Any] = {}  # what a consumer still uses, by the address of its DLManagedTensor


def _forget(managed: int) -> None:
    _exported.pop(managed, None)


def _destroy(capsule: int) -> None:
    """A capsule that nobody consumed."""
    if _valid_raw(capsule, _NAME):
        _forget(_pointer_raw(capsule, _NAME))


_FORGET = _DELETER(_forget)
_DESTROY = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_destroy)


def to_capsule(address: int, shape: tuple[int, ...], dtype: npt.DTypeLike, device: tuple[int, int], owner: Any) -> Any:
    """A capsule over contiguous memory, which `owner` keeps alive until the consumer is done."""
    kind = np.dtype(dtype)
    sides = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    tensor = _Tensor(address, *device, len(shape), _CODES[kind.kind], kind.itemsize * 8, 1, sides, None, 0)
    managed = _Managed(tensor, None, _FORGET)
    where = ctypes.addressof(managed)
    _exported[where] = (managed, sides, owner)
    return _new(where, _NAME, ctypes.cast(_DESTROY, ctypes.c_void_p))


@dataclass(frozen=True)
class Foreign:
    """Another library's tensor."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None  # in elements; None is contiguous
    dtype: np.dtype[Any]
    owner: Any  # keeps it alive


class _Consumed:
    """Tells the producer, once, that its tensor is no longer used."""

    def __init__(self, managed: Any) -> None:
        self._managed = managed

    def __del__(self) -> None:
        if self._managed.deleter:
            self._managed.deleter(ctypes.addressof(self._managed))


def from_capsule(capsule: Any) -> Foreign:
    """Consumes a capsule; InputError when it is used up or of a type that no kernel here takes."""
    if not _valid(capsule, _NAME):
        raise InputError("DLPack capsule: got one that was consumed before; ask the array for a new one")
    managed = _Managed.from_address(_pointer(capsule, _NAME))
    _rename(capsule, _USED)
    owner, tensor = _Consumed(managed), managed.tensor
    kinds = {code: kind for kind, code in _CODES.items()}
    if tensor.code not in kinds or tensor.lanes != 1:
        raise InputError(f"DLPack tensor: type code {tensor.code} x {tensor.lanes}, expected an integer or a float")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    dtype = np.dtype(f"{kinds[tensor.code]}{tensor.bits // 8}")
    return Foreign((tensor.data or 0) + tensor.byte_offset, shape, strides, dtype, owner)
