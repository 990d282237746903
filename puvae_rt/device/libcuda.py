"""The driver's own library, asked directly for what PyCUDA does not pass on."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from puvae_rt.device.status import failure

_DEVICE_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
_CODES = {1: "CUDA_ERROR_INVALID_VALUE", 3: "CUDA_ERROR_NOT_INITIALIZED"}


def load() -> Any:
    """The library, which is in the process already: PyCUDA links to it."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def gpu_of(library: Any, address: int) -> int:
    """The number of the GPU whose memory an address is in; DeviceError when it is no memory that CUDA knows."""
    ask = library.cuPointerGetAttribute
    ask.argtypes, ask.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64), ctypes.c_int
    ordinal = ctypes.c_int(-1)
    status = ask(ctypes.addressof(ordinal), _DEVICE_ORDINAL, address)
    if status:
        raise failure("cuPointerGetAttribute", _CODES.get(status, f"CUresult {status}"), f"{address:#x}")
    return ordinal.value
