"""The C interface given NULL, zero, negative, NaN and overflowing arguments: a status and a sentence each."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_void_p, sizeof

import numpy as np
import pytest

from puvae_rt.errors import EngineError, InputError
from puvae_rt.native.binding import (
    EngineInfo,
    EngineOptions,
    Format,
    Frame,
    Library,
    NativeContext,
    NativeModel,
    Region,
    Result,
    described_frame,
)
from puvae_rt.native.engine_file import engine_file
from tests.native.models import CASES, random_images

ARGUMENT, UNSUPPORTED = 1, 5
CASE = CASES[0]


@pytest.fixture(scope="module")
def model(libpuvae: Library) -> NativeModel:
    return NativeModel(libpuvae, engine_file(CASE.weights()))


@pytest.fixture
def context(model: NativeModel) -> NativeContext:
    return model.context()


def frame(**changes: int | None) -> Frame:
    described, kept = described_frame(np.zeros((40, 50, 3), np.uint8))
    for name, value in changes.items():
        setattr(described, name, value)
    described.kept = kept
    return described


def status(library: Library, name: str, *arguments: object) -> int:
    got = getattr(library.functions, name)(*arguments)
    if got:
        text = library.functions.puvae_last_message().decode()
        assert "expected" in text, text
    return int(got)


def run(
    context: NativeContext, frame: Frame | None, region: Region | None, result: Result | None, count: int = 1
) -> int:
    pointers = (None if x is None else byref(x) for x in (frame, region))
    last = None if result is None else byref(result)
    return status(context._library, "puvae_run", context._handle, *pointers, count, last)


def result() -> Result:
    return Result(sizeof(Result))


def test_null_handles(libpuvae: Library) -> None:
    null, call = c_void_p(), lambda name, *arguments: status(libpuvae, name, *arguments)
    info, options = EngineInfo(sizeof(EngineInfo)), EngineOptions(sizeof(EngineOptions))
    assert call("puvae_engine_open", None, None, byref(null)) == ARGUMENT
    assert call("puvae_engine_open", b"x", byref(options), None) == ARGUMENT
    assert call("puvae_engine_open_memory", None, 10, None, byref(null)) == ARGUMENT
    assert call("puvae_engine_open_memory", b"x", 1, None, None) == ARGUMENT
    assert call("puvae_engine_get_info", None, byref(info)) == ARGUMENT
    assert call("puvae_context_open", None, byref(null)) == ARGUMENT
    assert call("puvae_run", None, byref(frame()), None, 1, byref(result())) == ARGUMENT
    assert call("puvae_run_image", None, None, byref(result())) == ARGUMENT
    assert call("puvae_preprocess", None, byref(frame()), None, None) == ARGUMENT
    assert call("puvae_context_close", None) == 0
    libpuvae.functions.puvae_engine_close(None)
    assert libpuvae.functions.puvae_engine_class_name(None, 0) is None


def test_null_arguments(model: NativeModel, context: NativeContext) -> None:
    assert run(context, None, None, result()) == ARGUMENT
    assert run(context, frame(), None, None) == ARGUMENT
    assert run(context, frame(pixels=None), None, result()) == ARGUMENT
    assert run(context, frame(), None, result()) == 0
    assert status(model.library, "puvae_engine_get_info", model._handle, None) == ARGUMENT
    assert status(model.library, "puvae_context_open", model._handle, None) == ARGUMENT
    assert status(model.library, "puvae_run_image", context._handle, None, byref(result())) == ARGUMENT
    assert status(model.library, "puvae_preprocess", context._handle, byref(frame()), None, None) == ARGUMENT


@pytest.mark.parametrize("size", (0, 8, sizeof(Result) - 1, 2**63))
def test_struct_sizes(model: NativeModel, context: NativeContext, size: int) -> None:
    assert run(context, frame(), None, Result(size)) == ARGUMENT
    assert run(context, frame(struct_size=min(size, 8)), None, result()) == ARGUMENT
    assert status(model.library, "puvae_engine_get_info", model._handle, byref(EngineInfo(min(size, 8)))) == ARGUMENT
    options, null = EngineOptions(min(size, 8)), c_void_p()
    assert status(model.library, "puvae_engine_open", b"x", byref(options), byref(null)) == ARGUMENT


def test_a_larger_struct_of_a_newer_caller(context: NativeContext) -> None:
    class Newer(Result):
        _fields_ = (("added", ctypes.c_int64),)

    newer = Newer(sizeof(Newer))
    newer.added = 7
    assert run(context, frame(), None, newer) == 0
    assert newer.added == 7


@pytest.mark.parametrize(("value", "expected"), ((-1, ARGUMENT), (5, ARGUMENT), (2**31 - 1, ARGUMENT)))
def test_instructions(libpuvae: Library, value: int, expected: int) -> None:
    options, null = EngineOptions(sizeof(EngineOptions), value), c_void_p(1)
    data = engine_file(CASE.weights())
    assert status(libpuvae, "puvae_engine_open_memory", data, len(data), byref(options), byref(null)) == expected
    assert null.value is None


FRAMES = {
    "format": {"format": 4},
    "negative_format": {"format": -1},
    "zero_width": {"width": 0},
    "negative_height": {"height": -40},
    "huge": {"width": 2**31 - 1},
    "negative_stride": {"stride": -150},
    "zero_stride": {"stride": 0},
    "narrow_stride": {"stride": 149},
    "overflowing_stride": {"stride": 2**63 - 1},
    "odd_nv12": {"format": Format.NV12, "width": 49},
    "nv12_without_chroma": {"format": Format.NV12},
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(context: NativeContext, name: str) -> None:
    assert run(context, frame(**FRAMES[name]), None, result()) == ARGUMENT


REGIONS = ((0, 0, 0, 5), (0, 0, 5, -1), (50, 0, 4, 4), (-4, 0, 4, 4), (0, 40, 1, 1), (0, -(2**31), 1, 2**31 - 1))


@pytest.mark.parametrize("region", (*REGIONS, (0, 0, 2**20, 2**20), (2**31 - 1, 0, 2**31 - 1, 1)))
def test_regions(context: NativeContext, region: tuple[int, int, int, int]) -> None:
    assert run(context, frame(), Region(*region), result()) == ARGUMENT


def test_counts(context: NativeContext) -> None:
    for count in (0, 2, 2**16 + 1, 2**64 - 1):
        assert run(context, frame(), None, result(), count) == ARGUMENT


def test_several_regions_are_answered_in_order_and_a_wrong_one_changes_nothing(context: NativeContext) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    described, _ = described_frame(pixels)
    places = [(0, 0, 50, 40), (-3, 5, 20, 20), (30, 30, 40, 9)]
    regions, results = (Region * 3)(*places), (Result * 3)(*(Result(sizeof(Result)) for _ in places))
    call = context._library.functions.puvae_run
    assert call(context._handle, byref(described), regions, 3, results) == 0
    for place, got in zip(places, results, strict=True):
        alone = context.run(pixels, place)
        assert (got.projected, got.least_rmse) == (alone.projected, np.nanmin(alone.rmse))
        assert min(got.preprocess_ns, got.purify_ns, got.classify_ns) >= 0
    before = bytes(results)
    regions[2] = Region(50, 40, 1, 1)
    assert call(context._handle, byref(described), regions, 3, results) == ARGUMENT
    assert bytes(results) == before


@pytest.mark.parametrize("value", (np.nan, np.inf, -1e-6, 1.0001))
def test_images(context: NativeContext, value: float) -> None:
    image = random_images(CASE.contract, 1)[0]
    image[0, 5, 5] = value
    with pytest.raises(InputError, match=r"expected \[0,1\]"):
        context.run_image(image)


def test_class_names(model: NativeModel) -> None:
    name = model.library.functions.puvae_engine_class_name
    assert [name(model._handle, k) for k in (-1, CASE.classes, 2**31 - 1)] == [None] * 3


def test_messages_belong_to_their_thread(libpuvae: Library) -> None:
    from concurrent.futures import ThreadPoolExecutor

    status(libpuvae, "puvae_engine_open", None, None, byref(c_void_p()))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(libpuvae.functions.puvae_last_message).result() == b""
    assert libpuvae.functions.puvae_last_message()


def test_a_call_under_way_keeps_others_out_and_the_context_open(context: NativeContext) -> None:
    """ctypes releases the GIL: a thread calls without end while this one knocks."""
    import threading

    pixels, stop, seen = np.zeros((40, 50, 3), np.uint8), threading.Event(), set()

    def work() -> None:
        while not stop.is_set():
            try:
                context.run(pixels, (0, 0, 50, 40))
            except EngineError:
                seen.add("worker")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(100_000):
            try:
                context.run(pixels, (0, 0, 50, 40))
            except EngineError as error:
                seen.add(str(error))
            if "worker" in seen and len(seen) > 1:
                break
    finally:
        stop.set()
        thread.join()
    assert any("open a context for each thread" in text for text in seen)
