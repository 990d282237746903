"""Arrays in and out of device memory without a copy, by both protocols."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from puvae_rt.device.arrays import DeviceArray, take
from puvae_rt.device.dlpack import from_capsule
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import InputError


class Interface:
    """Another library's array: only `__cuda_array_interface__`."""

    def __init__(self, **interface: Any) -> None:
        self.__cuda_array_interface__ = {"version": 3, **interface}


def on_device(device: EmulatedDevice, stream: Any, shape: tuple[int, ...] = (2, 3)) -> tuple[np.ndarray, DeviceArray]:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    memory = device.allocate(values.nbytes)
    device.to_device(memory.address, values, stream)
    pitch = values.nbytes // shape[0]
    return values, DeviceArray(memory.address, shape, values.dtype, pitch, device, stream, memory)


def test_numpy_sees_our_memory_through_dlpack(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream:
        values, array = on_device(emulated, stream)
        seen = np.from_dlpack(array)  # waits for the stream: its contents are there
        np.testing.assert_array_equal(seen, values)
        assert seen.ctypes.data == array.address
        del array
        gc.collect()
        np.testing.assert_array_equal(seen, values)  # the consumer keeps the memory alive


def test_memory_goes_with_its_last_user(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream:
        _, array = on_device(emulated, stream)
        free = emulated.free_memory()
        seen, unused = np.from_dlpack(array), array.__dlpack__()
        del array
        gc.collect()
        assert emulated.free_memory() == free
        del seen, unused
        gc.collect()
        assert emulated.free_memory() > free


def test_dlpack_round_trip_through_torch(emulated: EmulatedDevice) -> None:
    torch = pytest.importorskip("torch")
    with emulated.stream() as stream:
        _, array = on_device(emulated, stream)
        tensor = torch.from_dlpack(array)
        back = take(tensor, emulated, stream, "tensor")
        assert (back.address, back.shape, back.dtype) == (array.address, (2, 3), np.float32)


def test_interface_round_trip_keeps_the_producers_order(emulated: EmulatedDevice) -> None:
    for seed in range(8):
        device = EmulatedDevice(seed)
        producer, consumer = device.stream(), device.stream()
        values, array = on_device(device, producer)
        theirs = Interface(**{k: v for k, v in array.__cuda_array_interface__.items() if k != "version"})
        got = take(theirs, device, consumer, "array")
        assert got.address == array.address
        np.testing.assert_array_equal(got.numpy(consumer), values)


@pytest.mark.parametrize("default", [1, 2])
def test_arrays_made_on_a_default_stream_are_taken(default: int) -> None:
    for seed in range(8):
        device = EmulatedDevice(seed)
        producer, consumer = device.stream(), device.stream()
        values, array = on_device(device, producer)
        device.order(producer.handle, default)
        theirs = Interface(**{**array.__cuda_array_interface__, "stream": default})
        np.testing.assert_array_equal(take(theirs, device, consumer, "array").numpy(consumer), values)


def test_a_second_gpus_memory_is_named_by_its_number(emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmulatedDevice, "ordinal", 1)
    with emulated.stream() as stream:
        _, array = on_device(emulated, stream)
        assert array.__dlpack_device__() == (1, 1)
        with pytest.raises(InputError, match="number 0, expected type 1, number 1"):
            take(np.zeros((2, 3), np.float32), emulated, stream, "batch")


def test_our_own_array_on_another_stream_is_ordered() -> None:
    for seed in range(8):
        device = EmulatedDevice(seed)
        producer, consumer = device.stream(), device.stream()
        values, array = on_device(device, producer)
        np.testing.assert_array_equal(take(array, device, consumer, "array").numpy(consumer), values)


def test_a_consumers_stream_waits_for_ours() -> None:
    for seed in range(8):
        device = EmulatedDevice(seed)
        producer, consumer = device.stream(), device.stream()
        values, array = on_device(device, producer)
        foreign = from_capsule(array.__dlpack__(stream=consumer.handle))
        host = device.allocate_host(values.nbytes)
        device.to_host(host.array, foreign.address, consumer)
        consumer.synchronize()
        np.testing.assert_array_equal(host.array.view(np.float32).reshape(2, 3), values)


def test_rows_may_be_padded_but_nothing_else(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream, emulated.allocate(1024) as memory:
        padded = Interface(shape=(4, 10, 3), typestr="|u1", data=(memory.address, True), strides=(64, 3, 1))
        assert take(padded, emulated, stream, "frame").pitch == 64
        for strides in [(64, 6, 2), (29, 3, 1), (-30, 3, 1)]:
            gaps = Interface(shape=(4, 10, 3), typestr="|u1", data=(memory.address, True), strides=strides)
            with pytest.raises(InputError, match="contiguous rows"):
                take(gaps, emulated, stream, "frame")


def test_other_memory_is_refused(emulated: EmulatedDevice) -> None:
    class OnGpu:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self) -> None: ...

    with emulated.stream() as stream:
        with pytest.raises(InputError, match="expected an array in device memory"):
            take([1, 2], emulated, stream, "batch")
        with pytest.raises(InputError, match="device type 2, number 0, expected type 1, number 0"):
            take(OnGpu(), emulated, stream, "batch")
        with pytest.raises(InputError, match="masked"):
            take(Interface(shape=(1,), typestr="<f4", data=(4096, False), mask=1), emulated, stream, "batch")
        with pytest.raises(InputError, match="stream 0"):
            take(Interface(shape=(1,), typestr="<f4", data=(4096, False), stream=0), emulated, stream, "batch")


def test_a_capsule_is_consumed_once(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream:
        capsule = on_device(emulated, stream)[1].__dlpack__()
        from_capsule(capsule)
        with pytest.raises(InputError, match="consumed before"):
            from_capsule(capsule)


def test_memory_of_another_gpu_is_refused_however_it_comes(emulated: EmulatedDevice, monkeypatch) -> None:
    with emulated.stream() as stream:
        _, array = on_device(emulated, stream)
        interface = Interface(shape=(2, 3), typestr="<f4", data=(array.address, False), strides=None, stream=None)
        assert take(interface, emulated, stream, "images").address == array.address
        other = EmulatedDevice()
        other.ordinal = 1
        with pytest.raises(InputError, match="number 0, expected type 1, number 1; move it"):
            take(array, other, stream, "images")
        monkeypatch.setattr(emulated, "gpu_of", lambda address: 3)
        with pytest.raises(InputError, match="memory of GPU 3, expected GPU 0"):
            take(interface, emulated, stream, "images")


def test_an_interface_over_memory_of_the_host_is_refused(emulated: EmulatedDevice) -> None:
    host = np.zeros((2, 3), np.float32)
    interface = Interface(shape=(2, 3), typestr="<f4", data=(host.ctypes.data, False), strides=None, stream=None)
    with emulated.stream() as stream, pytest.raises(InputError, match="in no device memory"):
        take(interface, emulated, stream, "images")


def test_a_tensor_that_does_not_hand_itself_over_is_an_input_error(emulated: EmulatedDevice) -> None:
    torch = pytest.importorskip("torch")
    with emulated.stream() as stream, pytest.raises(InputError, match=r"requires? grad"):
        take(torch.zeros(2, 3, requires_grad=True), emulated, stream, "images")
