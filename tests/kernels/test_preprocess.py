"""preprocess on the host shim: equal to its NumPy twin, within one level of the CPU runtime, which is OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.kernels import oracle, preprocess
from puvae_rt.kernels.launch import FORMATS, MAX_REGION_SIDE
from puvae_rt.runtime.preprocess import as_input
from tests.kernels.frames import Frame, assert_within_one_level, frames, opencv, regions_of, seeds, sides
from tests.kernels.harness import examples, run_preprocess

FLOATS = (np.float32, np.float16)


@settings(max_examples=examples(60), deadline=None)
@given(st.data(), frames(), seeds, st.sampled_from((1, 3)), sides, sides, st.sampled_from(FLOATS), st.integers(0, 7))
def test_equals_the_oracle_and_opencv(data, frame, seed, channels, height, width, dtype, padding):
    regions = data.draw(st.lists(regions_of(frame), min_size=1, max_size=3))
    array = frame.random(seed)
    got = run_preprocess(array, regions, frame.pixels, channels, height, width, dtype, padding, seed).image
    np.testing.assert_array_equal(got, oracle.preprocess(array, regions, frame.pixels, channels, height, width, dtype))
    contract = ImageContract(channels, height, width)
    cpu = np.concatenate([as_input(opencv(array, frame.pixels), region, contract) for region in regions])
    assert_within_one_level(got, cpu)


@pytest.mark.parametrize(("pixels", "channels"), list(zip(FORMATS, (1, 3, 1, 3), strict=True)))
def test_a_whole_camera_frame(pixels, channels):
    frame = Frame(pixels, 640, 480)
    array, whole = frame.random(3, smooth=True), (0, 0, 640, 480)
    got = run_preprocess(array, [whole], pixels, channels, 28, 28).image
    want = as_input(opencv(array, pixels), None, ImageContract(channels, 28, 28))
    assert_within_one_level(got, want)


def test_nv12_colours_are_opencvs():
    frame = Frame("nv12", 60, 60).random(5)
    got = run_preprocess(frame, [(0, 0, 60, 60)], "nv12", 3, 60, 60).image
    rgb = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12)
    np.testing.assert_array_equal(got[0].transpose(1, 2, 0), rgb / np.float32(255))


def test_a_region_of_the_models_size_is_copied():
    frame = Frame("rgb8", 50, 40).random(1)
    got = run_preprocess(frame, [(7, 5, 32, 32)], "rgb8", 3, 32, 32).image
    np.testing.assert_array_equal(got[0].transpose(1, 2, 0), frame[5:37, 7:39] / np.float32(255))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_phases_hold_the_same_image(channels, dtype):
    frame, regions = Frame("bgr8", 60, 44).random(2), [(3, 4, 33, 31), (-5, 20, 40, 40)]
    got = run_preprocess(frame, regions, "bgr8", channels, 12, 14, dtype, split=True)
    np.testing.assert_array_equal(got.phases, oracle.split_phases(got.image))


@settings(max_examples=examples(10), deadline=None)
@given(st.data(), frames(), seeds)
def test_regions_do_not_depend_on_each_other(data, frame, seed):
    regions = data.draw(st.lists(regions_of(frame), min_size=2, max_size=5))
    array = frame.random(seed)
    together = run_preprocess(array, regions, frame.pixels, 1, 12, 14, seed=seed).image
    apart = [run_preprocess(array, [r], frame.pixels, 1, 12, 14).image for r in regions]
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_a_region_far_larger_than_the_frame_repeats_its_border():
    frame = np.array([[10, 200]], np.uint8)
    got = run_preprocess(frame, [(-1000, -500, 2002, 1000)], "gray8", 1, 2, 2).image
    np.testing.assert_array_equal(np.rint(got[0, 0] * 255), [[10, 200], [10, 200]])


@pytest.mark.parametrize(
    "region",
    [
        (0, 0, 0, 5),
        (0, 0, 5, -1),
        (40, 0, 5, 5),
        (0, 30, 5, 5),
        (-5, 0, 5, 5),
        (0, -5, 5, 5),
        (0, 0, MAX_REGION_SIDE + 1, 5),
        (0, 0, 5, 2**31 - 1),
        (-(2**31), 0, 5, 5),
        (2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1),
    ],
    ids=str,
)
def test_an_impossible_region_gives_nan_and_spoils_no_other(region):
    frame, good = Frame("gray8", 40, 30).random(1), (3, 2, 20, 17)
    got = run_preprocess(frame, [good, region, good], "gray8", 1, 6, 8, split=True)
    assert np.isnan(got.image[1]).all()
    assert np.isnan(got.phases[4:8]).all()
    want = oracle.preprocess(frame, [good], "gray8", 1, 6, 8)[0]
    np.testing.assert_array_equal(got.image[0], want)
    np.testing.assert_array_equal(got.image[2], want)


def test_the_longest_sides_do_not_overflow():
    """Values whose products fill 32 bits: a white region must stay white, and a step must stay where it is."""
    frame = np.repeat(np.array([[0, 255]], np.uint8), 1000, axis=1)  # [1, 2000], black then white
    wide = (1000 - MAX_REGION_SIDE // 2, 0, MAX_REGION_SIDE, 1)
    bilinear = run_preprocess(frame, [wide], "gray8", 1, 2, 1000).image
    assert bilinear[0, 0].tolist() == [[0] * 500 + [1] * 500] * 2
    by_area = run_preprocess(frame, [(1999, 0, MAX_REGION_SIDE, 1)], "gray8", 1, 1, 1000).image
    assert (by_area == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "bgr8", 1, 28, 28), "regions=0"),
        ((1, "yuyv", 1, 28, 28), "format 'yuyv'.*nv12, bgr8, rgb8, gray8"),
        ((1, "bgr8", 2, 28, 28), "channels=2"),
        ((1, "bgr8", 1, 0, 28), "height=0"),
        ((1, "bgr8", 1, 28, 1001), "width=1001"),
        ((1, "bgr8", 1, 28, 28, np.uint8), "output of type u8"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_geometry_refuses(arguments, message):
    with pytest.raises(ContractError, match=message):
        preprocess(*arguments)
