"""Camera frames and regions for the tests of preprocess and of its oracle."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from hypothesis import strategies as st

from puvae_rt.kernels.launch import FORMATS


class Frame(NamedTuple):
    pixels: str
    width: int
    height: int

    def random(self, seed: int, smooth: bool = False) -> np.ndarray:
        """uint8 noise, as OpenCV has this format; `smooth` blurs it, so that neighbours are alike as in a picture."""
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
