from __future__ import annotations

import cv2
import numpy as np
import pytest

from demos.play.digits import find_digit, normalize
from demos.play.synthetic import Samples, SyntheticClip
from puvae_rt.video.frames import Box, Frame
from tests import tolerances

COUNT, SEED = 40, 3


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def unit(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255


def rms(difference: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(difference**2, axis=(-3, -2, -1)))


@pytest.fixture(scope="module")
def clip(samples: Samples) -> list[Frame]:
    return list(SyntheticClip(samples, frames=COUNT, hold=1, seed=SEED))


def test_digits_of_a_camera_clip_are_found_where_they_are(clip: list[Frame]) -> None:
    found = [(find_digit(frame.image), frame.truth) for frame in clip]
    hits = [digit is not None and overlap(digit.box, truth.box) > 0.6 for digit, truth in found]
    assert np.mean(hits) >= 0.98
    assert all(digit.image.min() >= 0 and digit.image.max() <= 1 for digit, _ in found if digit)


@pytest.mark.parametrize("width, height", [(320, 240), (1280, 720), (480, 640)])
def test_any_resolution(samples: Samples, width: int, height: int) -> None:
    clip = list(SyntheticClip(samples, frames=8, hold=1, width=width, height=height, seed=1))
    found = [(find_digit(frame.image), frame.truth) for frame in clip]
    assert np.mean([digit is not None and overlap(digit.box, truth.box) > 0.6 for digit, truth in found]) > 0.9


def test_what_is_found_looks_like_the_image_on_the_card(samples: Samples, clip: list[Frame]) -> None:
    """Turned by up to 7 degrees, blurred, unevenly lit: nearer to its own image than to any other of its class."""
    order = np.random.default_rng(SEED).permutation(len(samples.labels))
    cards = unit(samples.images[order[:COUNT]])
    found = np.stack([find_digit(frame.image).image for frame in clip])
    distances = rms(found[:, None] - cards[None])  # [COUNT,COUNT]
    assert np.median(distances.diagonal()) < tolerances.CAMERA_DIGIT_RMS
    assert np.mean(distances.argmin(axis=1) == np.arange(COUNT)) >= 0.95


def test_mnist_stays_as_it_is(samples: Samples) -> None:
    images = unit(samples.images[:300])
    again = np.stack([normalize(image[0]) for image in images])
    unchanged = np.abs(again - images).max(axis=(1, 2, 3)) <= tolerances.FAINT_EDGE
    assert unchanged.mean() > 0.8  # thin pens are widened on purpose
    assert rms(again - images).max() < 0.35


@pytest.mark.parametrize("ink, paper", [(20, 230), (240, 40)], ids=["dark on light", "light on dark"])
def test_both_polarities_and_gray_frames(ink: int, paper: int) -> None:
    frame = np.full((240, 320), paper, np.uint8)
    cv2.putText(frame, "4", (120, 160), cv2.FONT_HERSHEY_SIMPLEX, 4, ink, 10)
    gray, color = find_digit(frame), find_digit(np.dstack([frame] * 3))
    assert gray is not None and color is not None
    assert gray.box == color.box
    np.testing.assert_array_equal(gray.image, color.image)
    assert gray.image.shape == (1, 28, 28) and gray.image.dtype == np.float32
    assert gray.image.min() >= 0 and gray.image.max() <= 1
    ys, xs = np.mgrid[:28, :28]
    center = [(axis * gray.image[0]).sum() / gray.image.sum() for axis in (xs, ys)]
    assert np.allclose(center, 14, atol=0.6)  # half a pixel, and its rounding


def empty_frames() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    edge = np.full((240, 320, 3), 60, np.uint8)
    edge[:, 160:] = 200
    cut = np.full((240, 320, 3), 230, np.uint8)
    cv2.line(cut, (0, 120), (150, 100), (20, 20, 20), 8)
    return {
        "black": np.zeros((240, 320, 3), np.uint8),
        "sensor noise": np.clip(rng.normal(120, 6, (240, 320, 3)), 0, 255).astype(np.uint8),
        "edge of a table": edge,
        "stroke that leaves the frame": cut,
        "one pixel": np.zeros((1, 1, 3), np.uint8),
        "a row": np.full((1, 400), 90, np.uint8),
    }


@pytest.mark.parametrize("name", empty_frames())
def test_nothing_to_find(name: str) -> None:
    assert find_digit(empty_frames()[name]) is None
