from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.contract import ImageContract
from puvae_rt.errors import InputError
from puvae_rt.runtime.preprocess import MAX_REGION, as_batch, as_input
from tests import tolerances
from tests.runtime.toy import COLOR, GRAY

FRAME_BGR = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
FRAME_GRAY = np.random.default_rng(1).integers(0, 256, (90, 120), np.uint8)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


LAYOUTS = {
    "NCHW": (GRAY, pixels(3, 1, 28, 28), lambda p: p),
    "NHWC gray": (GRAY, pixels(3, 28, 28, 1), lambda p: p.transpose(0, 3, 1, 2)),
    "NHW": (GRAY, pixels(3, 28, 28), lambda p: p[:, None]),
    "NCHW color": (COLOR, pixels(2, 3, 32, 32), lambda p: p),
    "NHWC color": (COLOR, pixels(2, 32, 32, 3), lambda p: p.transpose(0, 3, 1, 2)),
    "strided": (GRAY, pixels(6, 28, 56)[::2, :, ::2], lambda p: p[:, None]),
    "reversed": (GRAY, pixels(3, 28, 28)[:, ::-1], lambda p: p[:, None]),
}


@pytest.mark.parametrize("floats", [False, True], ids=["uint8", "float32"])
@pytest.mark.parametrize("contract, given_, channels_first", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(contract: ImageContract, given_: np.ndarray, channels_first: Any, floats: bool) -> None:
    want = channels_first(given_) / np.float32(255)
    batch = as_batch(given_ / np.float32(255) if floats else given_, contract)
    assert batch.dtype == np.float32 and batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, want)


def with_value(value: float) -> np.ndarray:
    images = np.full((2, 1, 28, 28), 0.5, np.float32)
    images[1, 0, 13, 7] = value
    return images


class BadBatch(NamedTuple):
    images: Any
    got: str
    expected: str
    remedy: str


BAD_BATCHES = {
    "other size": BadBatch(pixels(2, 1, 32, 32), r"\(2, 1, 32, 32\)", r"\[N,1,28,28\]", "resize"),
    "three channels for one": BadBatch(pixels(2, 3, 28, 28), r"\(2, 3, 28, 28\)", r"\[N,1,28,28\]", "resize"),
    "one image": BadBatch(pixels(1, 28, 28)[0], r"\(28, 28\)", r"\[N,28,28\]", r"images\[None\]"),
    "scalar": BadBatch(np.float32(0.5), r"\(\)", r"\[N,1,28,28\]", "resize"),
    "no images": BadBatch(pixels(0, 1, 28, 28), "empty batch", "at least one", ""),
    "no images, no shape": BadBatch(np.zeros(0, np.float32), "empty batch", "at least one", ""),
    "float64": BadBatch(np.zeros((2, 1, 28, 28)), "float64", "float32", "astype"),
    "int64": BadBatch(np.zeros((2, 1, 28, 28), np.int64), "int64", "uint8", "astype"),
    "bool": BadBatch(np.zeros((2, 1, 28, 28), bool), "bool", "uint8", "astype"),
    "objects": BadBatch([object()], "object", "float32", "astype"),
    "ragged": BadBatch([[1.0], [1.0, 2.0]], "list", "float32", ""),
    "text": BadBatch("mnist", "<U5", "float32", "astype"),
    "negative": BadBatch(with_value(-0.01), "-0.01", r"\[0,1\]", "clip"),
    "0..255 as float": BadBatch(with_value(255), "255", r"\[0,1\]", "divide by 255"),
    "infinite": BadBatch(with_value(np.inf), "inf", r"\[0,1\]", "clip"),
    "NaN": BadBatch(with_value(np.nan), "NaN", r"\[0,1\]", "drop"),
}


@pytest.mark.parametrize("case", BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_bad_batches(case: BadBatch) -> None:
    with pytest.raises(InputError, match=case.got) as raised:
        as_batch(case.images, GRAY)
    assert raised.match(case.expected) and raised.match(case.remedy)


def reference_region(frame: np.ndarray, roi: tuple[int, int, int, int]) -> np.ndarray:
    """The region pixel by pixel, coordinates clamped to the frame: what "replicate border" means."""
    x, y, w, h = roi
    rows = np.clip(np.arange(y, y + h), 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(x, x + w), 0, frame.shape[1] - 1)
    return frame[rows][:, columns]


ROIS = st.tuples(st.integers(-80, 119), st.integers(-70, 89), st.integers(1, 200), st.integers(1, 200)).filter(
    lambda r: r[0] + r[2] > 0 and r[1] + r[3] > 0
)


@settings(max_examples=60, deadline=None)
@given(roi=ROIS, color=st.booleans(), contract=st.sampled_from([GRAY, COLOR]))
def test_a_region_repeats_the_border_where_it_sticks_out(
    roi: tuple[int, int, int, int], color: bool, contract: ImageContract
) -> None:
    frame = FRAME_BGR if color else FRAME_GRAY
    got = as_input(frame, roi, contract)
    want = as_input(reference_region(frame, roi), None, contract)
    assert got.shape == (1, *contract.shape) and got.dtype == np.float32
    np.testing.assert_array_equal(got, want)


def test_a_frame_of_the_models_size_is_only_scaled() -> None:
    np.testing.assert_array_equal(
        as_input(FRAME_GRAY[:28, :28], None, GRAY)[0, 0], FRAME_GRAY[:28, :28] / np.float32(255)
    )


def test_colors_are_bgr_in_and_rgb_inside() -> None:
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 0] = 255
    assert as_input(blue, None, COLOR)[0, :, 0, 0].tolist() == [0, 0, 1]
    assert as_input(blue, None, GRAY)[0, 0, 0, 0] == pytest.approx(0.114, abs=tolerances.ONE_LEVEL)
    gray = as_input(FRAME_GRAY, None, COLOR)[0]
    np.testing.assert_array_equal(gray[0], gray[2])


def test_shrinking_averages_and_growing_interpolates() -> None:
    board = np.kron(np.indices((28, 28)).sum(0) % 2, np.ones((4, 4))).astype(np.uint8) * 255
    fine = (np.indices((112, 112)).sum(0) % 2).astype(np.uint8) * 255
    np.testing.assert_array_equal(as_input(board, None, GRAY)[0, 0] > 0.5, np.indices((28, 28)).sum(0) % 2 == 1)
    assert np.abs(as_input(fine, None, GRAY) - 0.5).max() <= tolerances.ONE_LEVEL  # averaged, not sampled
    ramp = np.array([[0, 255]], np.uint8)
    grown = as_input(ramp, None, GRAY)[0, 0, 0]
    assert (np.diff(grown) >= 0).all() and len(set(grown.tolist())) > 10


def test_views_of_any_stride_are_taken() -> None:
    for view in (FRAME_BGR[::-1], FRAME_BGR[:, :, ::-1], FRAME_BGR[::2, ::3], FRAME_GRAY.T):
        np.testing.assert_array_equal(as_input(view, None, GRAY), as_input(view.copy(), None, GRAY))


def test_frame_is_left_alone() -> None:
    before = FRAME_BGR.copy()
    as_input(FRAME_BGR, (5, 5, 28, 28), COLOR)[:] = 0
    np.testing.assert_array_equal(FRAME_BGR, before)


BAD_FRAMES = {
    "list": ([[0, 1]], "list"),
    "None": (None, "NoneType"),
    "float": (np.zeros((28, 28), np.float32), "float32"),
    "alpha": (pixels(28, 28, 4), r"\(28, 28, 4\)"),
    "one channel": (pixels(28, 28, 1), r"\(28, 28, 1\)"),
    "line": (pixels(28), r"\(28,\)"),
    "empty": (pixels(0, 28), r"\(0, 28\)"),
    "empty color": (pixels(28, 0, 3), r"\(28, 0, 3\)"),
}


@pytest.mark.parametrize("frame, got", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_bad_frames(frame: Any, got: str) -> None:
    with pytest.raises(InputError, match=f"frame: got .*{got}.* expected"):
        as_input(frame, None, GRAY)


BAD_ROIS = {
    "three numbers": (1, 2, 3),
    "not a sequence": 5,
    "floats": (1.0, 2.0, 10.0, 10.0),
    "text": "1234",
    "no width": (0, 0, 0, 10),
    "negative height": (0, 0, 10, -1),
    "left of the frame": (-10, 0, 10, 10),
    "right of the frame": (120, 0, 10, 10),
    "above": (0, -10, 10, 10),
    "below": (0, 90, 10, 10),
    "enormous": (0, 0, MAX_REGION, 2),
}


@pytest.mark.parametrize("roi", BAD_ROIS.values(), ids=BAD_ROIS)
def test_bad_regions(roi: Any) -> None:
    with pytest.raises(InputError, match=r"roi: got .*(expected|may stick out)"):
        as_input(FRAME_BGR, roi, GRAY)


def test_resizing_is_opencvs() -> None:
    """The GPU kernel is held against the same two calls."""
    region = FRAME_GRAY[10:70, 20:90]
    want = cv2.resize(region, (28, 28), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(as_input(FRAME_GRAY, (20, 10, 70, 60), GRAY)[0, 0], want / np.float32(255))


def test_a_value_just_out_of_range_is_told_with_enough_digits() -> None:
    images = np.zeros((1, *GRAY.shape), np.float32)
    images[0, 0, 0, 0] = 1.000001
    with pytest.raises(InputError, match=r"from 0 to 1\.00000\d*, expected \[0,1\]"):
        as_batch(images, GRAY)
