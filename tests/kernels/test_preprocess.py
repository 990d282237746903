"""preprocess on the host shim: equal to its NumPy twin, within one level of the CPU runtime, which is OpenCV."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.kernels import oracle, preprocess
from puvae_rt.kernels.launch import FORMATS, MAX_REGION_SIDE
from puvae_rt.models.puvae import split_phases
from puvae_rt.runtime.images import as_input
from tests.kernels.harness import examples, run_preprocess

FLOATS = (np.float32, np.float16)


class Frame(NamedTuple):
    pixels: str
    width: int
    height: int

    def random(self, seed: int, smooth: bool = False) -> np.ndarray:
        """uint8, as OpenCV has this format; noise, or a picture with gradients and edges."""
        w, h = self.width, self.height
        shape = {"nv12": (h * 3 // 2, w), "gray8": (h, w)}.get(self.pixels, (h, w, 3))
        noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        return cv2.blur(noise, (5, 5)).reshape(shape) if smooth else noise


def opencv(frame: np.ndarray, pixels: str) -> np.ndarray:
    """The frame as the CPU runtime takes it: BGR or gray."""
    if pixels == "nv12":
        return cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_NV12)
    return np.ascontiguousarray(frame[..., ::-1]) if pixels == "rgb8" else frame


@st.composite
def frames(draw) -> Frame:
    pixels = draw(st.sampled_from(FORMATS))
    width, height = (draw(st.integers(1, 90)) for _ in "wh")
    return Frame(pixels, 2 * width, 2 * height) if pixels == "nv12" else Frame(pixels, width, height)


@st.composite
def regions_of(draw, frame: Frame, longest: int = 130) -> tuple[int, int, int, int]:
    """Any region that touches the frame, inside or sticking out."""
    w, h = (draw(st.integers(1, longest)) for _ in "wh")
    return draw(st.integers(1 - w, frame.width - 1)), draw(st.integers(1 - h, frame.height - 1)), w, h


def assert_within_one_level(got: np.ndarray, want: np.ndarray) -> None:
    """Of the 256 levels that an image has at its resizing, the last step that rounds."""
    apart = np.abs(levels(got) - levels(want))
    assert apart.max() <= 1, f"{(apart > 1).sum()} of {apart.size} values differ by up to {apart.max()} levels"


def levels(image: np.ndarray) -> np.ndarray:
    return np.rint(image.astype(np.float32) * 255).astype(int)


seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 40)


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


@settings(max_examples=examples(200), deadline=None)
@given(st.data(), frames(), seeds, st.booleans(), st.sampled_from((1, 3)), st.sampled_from((28, 32)))
def test_oracle_is_within_one_level_of_opencv(data, frame, seed, smooth, channels, side):
    """Without the kernel, and so at many more regions and sizes."""
    array, region = frame.random(seed, smooth), data.draw(regions_of(frame, longest=400))
    want = as_input(opencv(array, frame.pixels), region, ImageContract(channels, side, side))
    got = oracle.preprocess(array, [region], frame.pixels, channels, side, side)
    assert_within_one_level(got, want)


@pytest.mark.parametrize(("pixels", "channels"), zip(FORMATS, (1, 3, 1, 3), strict=True))
def test_a_whole_camera_frame(pixels, channels):
    frame = Frame(pixels, 640, 480)
    array, whole = frame.random(3, smooth=True), (0, 0, 640, 480)
    got = run_preprocess(array, [whole], pixels, channels, 28, 28).image
    want = as_input(opencv(array, pixels), None, ImageContract(channels, 28, 28))
    assert_within_one_level(got, want)


def test_nv12_colours_are_opencvs():
    """Equal, not only close: the oracle for every chroma with 16 lumas, the kernel for some hundreds of both."""
    u, v = np.meshgrid(np.arange(256), np.arange(256))
    chroma = np.stack([u, v], axis=2).astype(np.uint8).reshape(256, 512)
    for seed in range(4):
        luma = np.random.default_rng(seed).integers(0, 256, (512, 512), dtype=np.uint8)
        frame = np.concatenate([luma, chroma])
        np.testing.assert_array_equal(oracle.rgb_of_nv12(frame), cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12))

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
def test_phases_are_those_of_the_model(channels, dtype):
    frame, regions = Frame("bgr8", 60, 44).random(2), [(3, 4, 33, 31), (-5, 20, 40, 40)]
    got = run_preprocess(frame, regions, "bgr8", channels, 12, 14, dtype, split=True)
    want = split_phases(torch.from_numpy(got.image)).numpy()
    np.testing.assert_array_equal(got.phases, want)
    np.testing.assert_array_equal(oracle.split_phases(got.image), want)


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
