"""libpuvae's preprocessing against the NumPy twin of the CUDA kernel: equal to the last bit."""

from __future__ import annotations

from ctypes import sizeof

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.kernels.oracle import preprocess
from puvae_rt.native.binding import Format, Frame, Library, NativeContext
from puvae_rt.runtime.preprocess import as_input
from tests.kernels.frames import Frame as Kind
from tests.kernels.frames import assert_within_one_level, frames, opencv, regions_of, seeds
from tests.native.models import CASES, COLOR, open_context

FORMATS = {"nv12": Format.NV12, "bgr8": Format.BGR, "rgb8": Format.RGB, "gray8": Format.GRAY}


@pytest.fixture(scope="module")
def contexts(libpuvae: Library) -> dict[int, NativeContext]:
    """By the channels of the model."""
    chosen = (next(c for c in CASES if (c.contract == COLOR) == color) for color in (False, True))
    return {case.contract.channels: open_context(libpuvae, case.weights()) for case in chosen}


def described(pixels: np.ndarray, kind: Kind, gap: int = 0) -> tuple[Frame, np.ndarray]:
    """The frame with `gap` bytes of 0xEE behind each of its rows."""
    rows = pixels.reshape(pixels.shape[0], -1)
    padded = np.full((len(rows), rows.shape[1] + gap), 0xEE, np.uint8)
    padded[:, : rows.shape[1]] = rows
    chroma, stride = padded.ctypes.data + kind.height * padded.strides[0], padded.strides[0]
    planes = (chroma, stride) if kind.pixels == "nv12" else (None, 0)
    where = (padded.ctypes.data, stride, *planes, kind.width, kind.height)
    return Frame(sizeof(Frame), FORMATS[kind.pixels], *where), padded


@settings(max_examples=120, deadline=None)
@given(st.data(), frames(), seeds, st.integers(0, 5), st.sampled_from((1, 3)))
def test_equals_the_kernels_twin(
    contexts: dict[int, NativeContext], data: st.DataObject, kind: Kind, seed: int, gap: int, channels: int
) -> None:
    pixels, region = kind.random(seed), data.draw(regions_of(kind))
    side = 28 if channels == 1 else 32
    want = preprocess(pixels, [region], kind.pixels, channels, side, side)[0]
    frame, kept = described(pixels, kind, gap)
    np.testing.assert_array_equal(contexts[channels].preprocess(frame, region), want)
    del kept


def test_the_whole_frame(contexts: dict[int, NativeContext]) -> None:
    kind = Kind("bgr8", 64, 48)
    pixels = kind.random(3)
    frame, kept = described(pixels, kind)
    want = preprocess(pixels, [(0, 0, 64, 48)], "bgr8", 3, 32, 32)[0]
    np.testing.assert_array_equal(contexts[3].preprocess(frame), want)
    del kept


def test_is_within_one_level_of_the_cpu_runtime(contexts: dict[int, NativeContext]) -> None:
    kind = Kind("bgr8", 200, 150)
    pixels = kind.random(4, smooth=True)
    frame, kept = described(pixels, kind)
    for region in ((0, 0, 200, 150), (20, -10, 90, 60), (190, 100, 13, 9)):
        want = as_input(opencv(pixels, "bgr8"), region, COLOR)[0]
        assert_within_one_level(contexts[3].preprocess(frame, region), want)
    del kept
