"""What every device layer promises."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from puvae_rt.device import Device, HostKind, Memory, Stream
from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.errors import ClosedError, DeviceError
from puvae_rt.kernels import SelectProjectionArgs, oracle, select_projection
from tests.device.conftest import cuda_over, pycuda_over
from tests.tolerances import KERNEL_DISTANCE_RELATIVE

N, K, D = 2, 4, 60


def uploaded(device: Device, stream: Stream, array: np.ndarray) -> Memory:
    memory = device.allocate(array.nbytes)
    device.to_device(memory.address, np.ascontiguousarray(array), stream)
    return memory


def downloaded(device: Device, stream: Stream, address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    out = np.empty(shape, dtype)
    device.to_host(out, address, stream)
    stream.synchronize()
    return out


class Selection:
    """select_projection's buffers on a device."""

    def __init__(self, device: Device, stream: Stream, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.x, self.c = random.random((N, D), np.float32), random.random((N, K, D), np.float32)
        self.device, self.stream = device, stream
        self.input, self.candidates = uploaded(device, stream, self.x), uploaded(device, stream, self.c)
        self.outputs = [device.allocate(n * N) for n in (4 * D, 8, 4 * K, 4 * K, 4, 4)]
        device.fill(self.outputs[-1].address, 0, 4 * N, stream)
        self.launch = select_projection(N, K, D, np.float32, np.float32, np.float32)

    def arguments(self, input: Memory | None = None) -> tuple:
        outputs = [memory.address for memory in self.outputs]
        x, c = (input or self.input).address, self.candidates.address
        return SelectProjectionArgs(x, c, 0, 0.0, *outputs, K, D).values()

    def enqueue(self) -> None:
        self.device.kernels().launch(self.launch, self.arguments(), self.stream)

    def check(self, x: np.ndarray) -> None:
        want = oracle.select_projection(x, self.c)
        index = downloaded(self.device, self.stream, self.outputs[1].address, (N,), np.int64)
        rmse = downloaded(self.device, self.stream, self.outputs[2].address, (N, K), np.float32)
        np.testing.assert_array_equal(index, want.index)
        np.testing.assert_allclose(rmse, want.rmse, rtol=KERNEL_DISTANCE_RELATIVE)


def test_copies_there_between_and_back(device: Device) -> None:
    sent = np.arange(300, dtype=np.int32)
    with device.stream() as stream, uploaded(device, stream, sent) as a, device.allocate(sent.nbytes) as b:
        device.copy(b.address, a.address, sent.nbytes, stream)
        device.fill(b.address, 0, 4, stream)
        got = downloaded(device, stream, b.address, sent.shape, np.int32)
    np.testing.assert_array_equal(got, np.where(sent == 0, 0, sent))


def test_page_locked_memory_keeps_its_contents_until_the_copy_is_done(device: Device) -> None:
    with device.stream() as stream, device.allocate_host(64, HostKind.PINNED) as host, device.allocate(64) as memory:
        host.array[:] = 7
        device.to_device(memory.address, host.array, stream)
        device.fill(memory.address, 9, 32, stream)
        device.to_host(host.array, memory.address, stream)
        stream.synchronize()
        assert host.array.tolist() == [9] * 32 + [7] * 32
        assert host.address == 0, "PINNED has no device address: it must be copied"


@pytest.mark.parametrize("kind", [HostKind.MAPPED, HostKind.UNIFIED])
def test_kernels_read_and_write_shared_memory_in_place(device: Device, kind: HostKind) -> None:
    with device.stream() as stream:
        selection = Selection(device, stream)
        with device.allocate_host(4 * N * D, kind) as host:
            x = np.random.default_rng(1).random((N, D), np.float32)
            host.array.view(np.float32)[:] = x.reshape(-1)
            assert host.address != 0
            device.kernels().launch(selection.launch, selection.arguments(host), stream)
            selection.check(x)


def test_kernel_equals_its_oracle(device: Device) -> None:
    with device.stream() as stream:
        selection = Selection(device, stream)
        selection.enqueue()
        selection.check(selection.x)


def test_an_event_orders_two_streams(device: Device) -> None:
    with device.stream() as first, device.stream() as second, device.event() as event, device.allocate(4) as memory:
        for value in range(30):
            device.fill(memory.address, value, 4, first)
            event.record(first)
            second.wait(event)
            assert downloaded(device, second, memory.address, (4,), np.uint8).tolist() == [value] * 4


def test_ordering_another_librarys_stream(device: Device) -> None:
    with device.stream() as theirs, device.stream() as ours, device.allocate(1) as memory:
        if device.layer == "pycuda":
            with pytest.raises(DeviceError, match="use device='cuda'"):
                device.order(theirs.handle, ours.handle)
            return
        for value in range(30):
            device.fill(memory.address, value, 1, theirs)
            device.order(theirs.handle, ours.handle)
            assert downloaded(device, ours, memory.address, (1,), np.uint8)[0] == value


def test_timed_events(device: Device) -> None:
    with device.stream() as stream, device.event(timed=True) as start, device.event(timed=True) as end:
        start.record(stream)
        Selection(device, stream).enqueue()
        end.record(stream)
        end.synchronize()
        assert 0 < end.elapsed_ms(start) < 60_000


def test_memory_is_freed_by_close_by_with_and_by_collection(device: Device) -> None:
    size, before = 64 << 20, device.free_memory()
    memory = device.allocate(size)
    assert device.free_memory() <= before - size
    memory.close()
    memory.close()
    with device.allocate(size):
        pass
    device.allocate(size)  # nobody keeps it
    gc.collect()
    assert device.free_memory() == before


def test_out_of_memory_names_the_call_the_code_and_the_remedy(device: Device) -> None:
    with pytest.raises(DeviceError, match="smaller --batch") as caught:
        device.allocate(1 << 50)
    assert (caught.value.call, caught.value.code) == ("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
    with device.allocate(16):
        pass  # the device lives on


def test_only_contiguous_arrays_are_copied(device: Device) -> None:
    with device.stream() as stream, device.allocate(64) as memory, pytest.raises((DeviceError, TypeError)):
        device.to_device(memory.address, np.zeros((8, 16), np.uint8)[:, ::2], stream)


def test_graph_replays_with_new_contents(device: Device) -> None:
    if not device.captures:
        pytest.skip("PyCUDA has no graphs")
    with device.stream() as stream:
        selection = Selection(device, stream)
        selection.enqueue()
        stream.synchronize()
        with device.capture(stream, selection.enqueue) as graph:
            for seed in (1, 2, 3):
                x = np.random.default_rng(seed).random((N, D), np.float32)
                device.to_device(selection.input.address, x, stream)
                graph.launch(stream)
                selection.check(x)
        with pytest.raises(ClosedError):
            graph.launch(stream)


def test_a_captured_kernel_takes_other_arguments(device: Device) -> None:
    if not device.captures:
        pytest.skip("PyCUDA has no graphs")
    with device.stream() as stream:
        selection = Selection(device, stream)
        with device.capture(stream, selection.enqueue) as graph:
            x = np.random.default_rng(9).random((N, D), np.float32)
            with uploaded(device, stream, x) as other:
                graph.launch(stream)
                selection.check(selection.x)
                graph.set_arguments(selection.launch, selection.arguments(other))
                graph.launch(stream)
                selection.check(x)
            absent = selection.launch._replace(entry="select_projection_f16_f16_f16")
            with pytest.raises(DeviceError):
                graph.set_arguments(absent, selection.arguments())


def test_the_captured_kernel_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = cuda_over(monkeypatch, EmulatedDevice())
    with device.stream() as stream:
        selection = Selection(device, stream)
        with device.capture(stream, selection.enqueue) as graph:
            for _ in range(3):
                graph.set_arguments(selection.launch, selection.arguments())
    assert device.driver.api.calls["cuGraphExecKernelNodeSetParams"] == 3
    assert device.driver.api.calls["cuGraphGetNodes"] == 2, "their number, then the nodes; at the first call only"


def test_another_library_may_change_the_threads_context(monkeypatch: pytest.MonkeyPatch) -> None:
    device = cuda_over(monkeypatch, EmulatedDevice())
    with device.stream() as stream:
        selection = Selection(device, stream)
        device.driver.api.thread.context = 2  # as torch.cuda.set_device(1) does
        selection.enqueue()
        selection.check(selection.x)


def test_two_pycuda_devices_take_turns_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (pycuda_over(monkeypatch, EmulatedDevice()) for _ in range(2))
    for device in (first, second, first, first):
        with device.stream() as stream:
            selection = Selection(device, stream)
            selection.enqueue()
            selection.check(selection.x)
    depths = [len(device.driver.api.contexts.stack) for device in (first, second)]
    assert depths == [1, 0], "the other's context is taken off before one's own is put on"


@pytest.mark.parametrize("mistake", ["allocate", "free", "synchronise", "pageable"])
def test_capture_refuses_what_cannot_be_replayed(device: Device, mistake: str) -> None:
    if not device.captures:
        pytest.skip("PyCUDA has no graphs")
    with device.stream() as stream, device.allocate(16) as memory:
        spare = device.allocate(16)
        actions = {
            "allocate": lambda: device.allocate(16),
            "free": spare.close,
            "synchronise": stream.synchronize,
            "pageable": lambda: device.to_host(np.empty(16, np.uint8), memory.address, stream),
        }
        with pytest.raises(DeviceError, match="CAPTURE"):
            device.capture(stream, actions[mistake])
        device.fill(memory.address, 5, 16, stream)
        assert (downloaded(device, stream, memory.address, (16,), np.uint8) == 5).all(), "the stream works on"


def test_two_threads(device: Device) -> None:
    failures = []

    def work(seed: int) -> None:
        try:
            with device.stream() as stream:
                selection = Selection(device, stream, seed)
                for _ in range(5):
                    selection.enqueue()
                    selection.check(selection.x)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_event_says_whether_it_is_reached_without_waiting(device: Device) -> None:
    with device.stream() as stream, device.event() as event, device.allocate(1 << 20) as memory:
        assert event.done(), "it was never recorded"
        for _ in range(3):
            device.fill(memory.address, 1, memory.nbytes, stream)
            event.record(stream)
            event.done()  # either; the next line decides
            stream.synchronize()
            assert event.done()


def test_an_event_behind_work_that_did_not_run_is_not_done() -> None:
    with EmulatedDevice(seed=0) as device, device.stream() as stream, device.event() as event:
        answers = []
        for _ in range(20):
            device.enqueue(stream, "work", lambda: answers.append(event.done()))
            event.record(stream)
            stream.synchronize()
            assert event.done()
    assert len(answers) == 20


def test_memory_tells_which_gpu_it_is_of(device: Device) -> None:
    with device.allocate(1 << 20) as memory:
        assert device.gpu_of(memory.address) == device.gpu_of(memory.address + 4096) == device.ordinal
    host = np.zeros(16)
    with pytest.raises(DeviceError, match="cuPointerGetAttribute") as caught:
        device.gpu_of(host.ctypes.data)
    assert caught.value.code == "CUDA_ERROR_INVALID_VALUE"
