"""Arrays in device memory: ours handed out and other libraries' taken in, without a copy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from puvae_rt.device.dlpack import from_capsule, to_capsule
from puvae_rt.device.protocol import Device, Stream
from puvae_rt.errors import DeviceError, InputError, PuvaeError

_INTERFACE_VERSION = 3
_NO_STREAM = -1  # DLPack: the consumer orders the streams itself


@dataclass(frozen=True)
class DeviceArray:
    """An array in device memory, rows possibly padded.

    It speaks `__cuda_array_interface__` and DLPack: torch.from_dlpack(array), cupy.asarray(array).

    Attributes:
        address: of the first element, on the device.
        shape, dtype: as NumPy's.
        pitch: bytes from one entry of the first axis to the next.
        stream: where its contents are being made; None once they are there.
        owner: keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pitch: int
    device: Device
    stream: Stream | None = None
    owner: Any = field(default=None, repr=False)

    @property
    def contiguous(self) -> bool:
        """Whether its rows have no padding."""
        return self.pitch == math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        inner = _contiguous_strides(self.shape, self.dtype.itemsize)[1:]
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None if self.contiguous else (self.pitch, *inner),
            "version": _INTERFACE_VERSION,
            "stream": None if self.stream is None else self.stream.handle,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device.dlpack_type, self.device.ordinal

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule whose contents are there for later work of the consumer's `stream`."""
        if not self.contiguous or copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("only contiguous arrays are handed over, in place, on their own device")
        if self.stream is not None and stream != _NO_STREAM:
            if stream is None:
                self.stream.synchronize()
            else:
                self.device.order(self.stream.handle, stream or 1)
        return to_capsule(self.address, self.shape, self.dtype, self.__dlpack_device__(), self)

    def numpy(self, stream: Stream) -> npt.NDArray[Any]:
        """A copy on the host; waits for it."""
        if not self.contiguous:
            raise InputError(f"array of shape {self.shape} with padded rows: only contiguous ones are copied")
        out = np.empty(self.shape, self.dtype)
        self.device.to_host(out, self.address, stream)
        stream.synchronize()
        return out


def take(array: Any, device: Device, stream: Stream, what: str) -> DeviceArray:
    """Another library's array, ready for later work of `stream`.

    Args:
        array: a DeviceArray, or anything with `__cuda_array_interface__` or DLPack, in memory of `device`.
        device: where it must be.
        stream: what is going to read it.
        what: names it in errors.
    Raises:
        InputError: in other memory, or with gaps other than at the end of its rows.
    """
    if isinstance(array, DeviceArray):
        _check_gpu(array.__dlpack_device__(), device, what)
        if array.stream is not None and array.stream is not stream:
            device.order(array.stream.handle, stream.handle)
        return array
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _from_dlpack(array, device, stream, what)
    if hasattr(array, "__cuda_array_interface__"):
        return _from_interface(array, device, stream, what)
    raise InputError(
        f"{what}: got {type(array).__name__}, expected an array in device memory "
        "(__cuda_array_interface__ or DLPack); use purify() for arrays of the host"
    )


def _from_dlpack(array: Any, device: Device, stream: Stream, what: str) -> DeviceArray:
    kind, number = (int(v) for v in array.__dlpack_device__())
    _check_gpu((kind, number), device, what)
    on_host = device.dlpack_type == 1  # the emulated device's: DLPack knows no streams there
    try:
        capsule = array.__dlpack__() if on_host else array.__dlpack__(stream=stream.handle)
    except PuvaeError:
        raise
    except Exception as error:  # whatever its library raises: BufferError of a tensor with gradients, and others
        raise InputError(f"{what}: {type(array).__name__} does not hand itself over by DLPack ({error})") from error
    foreign = from_capsule(capsule)
    strides = None
    if foreign.strides is not None:
        strides = tuple(stride * foreign.dtype.itemsize for stride in foreign.strides)
    pitch = _pitch(foreign.shape, strides, foreign.dtype, what)
    return DeviceArray(foreign.address, foreign.shape, foreign.dtype, pitch, device, None, foreign.owner)


def _from_interface(array: Any, device: Device, stream: Stream, what: str) -> DeviceArray:
    interface = array.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise InputError(f"{what}: got a masked array, expected one whose every value counts; fill the gaps first")
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    address = int(interface["data"][0])
    producer = interface.get("stream")
    if producer == 0:
        raise InputError(f"{what}: its __cuda_array_interface__ names stream 0, which is ambiguous; expected 1 or 2")
    _check_memory(address, device, what)
    if producer is not None:
        device.order(int(producer), stream.handle)
    pitch = _pitch(shape, interface.get("strides"), dtype, what)
    return DeviceArray(address, shape, dtype, pitch, device, None, array)


def _check_gpu(found: tuple[int, int], device: Device, what: str) -> None:
    """`found` is DLPack's device type and number."""
    expected = (device.dlpack_type, device.ordinal)
    if found != expected:
        raise InputError(
            f"{what}: got memory of DLPack device type {found[0]}, number {found[1]}, expected type {expected[0]}, "
            f"number {expected[1]}; move it there first"
        )


def _check_memory(address: int, device: Device, what: str) -> None:
    """`__cuda_array_interface__` does not say on which GPU it is: the driver does."""
    try:
        gpu = device.gpu_of(address)
    except DeviceError as error:
        raise InputError(f"{what}: its data at {address:#x} are in no device memory ({error.code})") from error
    if gpu != device.ordinal:
        raise InputError(f"{what}: got memory of GPU {gpu}, expected GPU {device.ordinal}; move it there first")


def _pitch(shape: tuple[int, ...], strides: tuple[int, ...] | None, dtype: np.dtype[Any], what: str) -> int:
    """Bytes between entries of the first axis; what lies inside of one must be contiguous."""
    dense = _contiguous_strides(shape, dtype.itemsize)
    if strides is None or not shape:
        return dense[0] if dense else dtype.itemsize
    inner = [(s, d) for side, s, d in zip(shape[1:], strides[1:], dense[1:], strict=True) if side > 1]
    if any(s != d for s, d in inner) or strides[0] < dense[0]:
        raise InputError(f"{what}: got strides {strides} for shape {shape}, expected contiguous rows; copy it first")
    return strides[0]


def _contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) * itemsize for i in range(len(shape)))
