"""The emulated device finds what it is there to find."""

from __future__ import annotations

import ctypes
import time

import numpy as np
import pytest

from puvae_rt.device import HostKind
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import ClosedError, DeviceError
from puvae_rt.kernels import shim
from puvae_rt.kernels.shim import KernelFaultError
from tests.device.test_contract import Selection, downloaded

SEEDS = range(20)


def produced_and_consumed(seed: int, with_event: bool) -> int:
    """A value that one stream writes and another reads."""
    device = EmulatedDevice(seed)
    first, second, event = device.stream(), device.stream(), device.event()
    memory, host = device.allocate(1), device.allocate_host(1)
    device.fill(memory.address, 42, 1, first)
    if with_event:
        event.record(first)
        second.wait(event)
    device.to_host(host.array, memory.address, second)
    second.synchronize()
    return int(host.array[0])


def test_a_missing_event_is_seen_by_some_seeds_and_an_event_mends_all() -> None:
    assert {produced_and_consumed(seed, with_event=True) for seed in SEEDS} == {42}
    assert {produced_and_consumed(seed, with_event=False) for seed in SEEDS} == {42, 255}


def test_a_missing_synchronisation_is_seen_by_some_seeds() -> None:
    def read_early(seed: int) -> int:
        with EmulatedDevice(seed) as device, device.stream() as stream, device.allocate_host(1) as host:
            memory = device.allocate(1)
            device.fill(memory.address, 42, 1, stream)
            device.to_host(host.array, memory.address, stream)
            return int(host.array[0])

    assert {read_early(seed) for seed in SEEDS} == {42, 255}


def test_reusing_a_pinned_buffer_too_early_is_seen_by_some_seeds() -> None:
    def overwrite(seed: int) -> int:
        with EmulatedDevice(seed) as device, device.stream() as stream, device.allocate_host(1) as host:
            memory = device.allocate(1)
            host.array[0] = 1
            device.to_device(memory.address, host.array, stream)
            host.array[0] = 2
            return int(downloaded(device, stream, memory.address, (1,), np.uint8)[0])

    assert {overwrite(seed) for seed in SEEDS} == {1, 2}


def test_counts(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream, emulated.allocate(8) as memory, emulated.allocate_host(8) as host:
        emulated.to_device(memory.address, host.array, stream)
        emulated.to_device(memory.address, np.zeros(8, np.uint8), stream)
        emulated.to_host(np.zeros(8, np.uint8), memory.address, stream)
        stream.synchronize()
        counts = emulated.snapshot()
    assert (counts.allocations, counts.copies, counts.pageable_copies, counts.synchronisations) == (2, 3, 2, 1)
    assert emulated.snapshot().frees == 2


def test_a_kernel_that_writes_past_its_array_is_found(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream:
        selection = Selection(emulated, stream)
        selection.outputs[0] = emulated.allocate(4)  # [N, D] floats are written there
        with pytest.raises(DeviceError, match="wrote past"):
            selection.enqueue()
            stream.synchronize()


def test_a_fault_is_reported_by_every_later_call(emulated: EmulatedDevice) -> None:
    stream = emulated.stream()
    emulated.enqueue(stream, "engine", lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(DeviceError, match="division") as caught:
            stream.synchronize()
        assert caught.value.code == "CUDA_ERROR_LAUNCH_FAILED"
    with pytest.raises(DeviceError):
        emulated.allocate(4)


def test_a_host_address_is_no_kernel_argument(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream, emulated.allocate_host(4096, HostKind.PINNED) as host:
        selection = Selection(emulated, stream)
        arguments = list(selection.arguments())
        arguments[0] = ctypes.c_void_p(host.array.ctypes.data)
        with pytest.raises(DeviceError, match="no device memory"):
            emulated.kernels().launch(selection.launch, arguments, stream)
            stream.synchronize()


def test_a_graph_over_freed_memory_faults(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream:
        memory = emulated.allocate(16)
        with emulated.capture(stream, lambda: emulated.fill(memory.address, 1, 16, stream)) as graph:
            memory.close()
            with pytest.raises(DeviceError, match="no device memory"):
                graph.launch(stream)
                stream.synchronize()


def test_an_address_outside_of_its_block_is_refused_at_once(emulated: EmulatedDevice) -> None:
    stream, memory = emulated.stream(), emulated.allocate(16)
    with pytest.raises(DeviceError, match="CUDA_ERROR_INVALID_VALUE"):
        emulated.fill(memory.address + 8, 0, 9, stream)


def test_capture_refuses_even_when_the_refusal_is_swallowed(emulated: EmulatedDevice) -> None:
    def careless() -> None:
        with pytest.raises(DeviceError):
            emulated.allocate(4)

    with emulated.stream() as stream, pytest.raises(DeviceError, match=r"INVALIDATED.*cuMemAlloc during capture"):
        emulated.capture(stream, careless)


def test_events_do_not_leave_a_capture(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream, emulated.stream() as other, emulated.event() as event:

        def leak() -> None:
            event.record(stream)
            other.wait(event)

        with pytest.raises(DeviceError, match="ISOLATION"):
            emulated.capture(stream, leak)


def test_a_closed_stream_is_refused(emulated: EmulatedDevice) -> None:
    stream, memory = emulated.stream(), emulated.allocate(1)
    stream.close()
    with pytest.raises(ClosedError):
        emulated.fill(memory.address, 0, 1, stream)


def test_time_of_an_event_that_was_not_reached(emulated: EmulatedDevice) -> None:
    start, end = emulated.event(timed=True), emulated.event(timed=True)
    with pytest.raises(DeviceError, match="NOT_READY"):
        end.elapsed_ms(start)
    with emulated.stream() as stream, emulated.event() as untimed:
        untimed.record(stream)
        stream.synchronize()
        with pytest.raises(DeviceError, match="without timing"):
            untimed.elapsed_ms(untimed)


def test_a_faulty_kernel_loses_the_device(emulated: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: object) -> None:
        raise KernelFaultError("divergent barrier")

    monkeypatch.setattr(shim.Shim, "run", diverge)
    with emulated.stream() as stream:
        selection = Selection(emulated, stream)
        with pytest.raises(DeviceError, match="divergent barrier"):
            selection.enqueue()
            stream.synchronize()


def test_work_takes_its_time(emulated: EmulatedDevice) -> None:
    with emulated.stream() as stream, emulated.event(timed=True) as start, emulated.event(timed=True) as end:
        start.record(stream)
        emulated.enqueue(stream, "engine", lambda: time.sleep(0.01))
        end.record(stream)
        end.synchronize()
        assert end.elapsed_ms(start) >= 10
