"""No frame raises out of find_digit, and what it finds is centered by its mass, whatever its proportions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from demos.play.digits import CENTER, SIDE, find_digit, normalize
from puvae_rt.errors import InputError

PAPER, INK = 230, 20
MANY = 400  # frames of the fuzz


def center_of_mass(image: np.ndarray) -> tuple[float, float]:
    """Row and column, by the definition."""
    mass = image[0].sum(dtype=np.float64)
    return tuple(float((image[0] * axis).sum() / mass) for axis in np.mgrid[:SIDE, :SIDE])


def stroke(height: int, width: int, lean: int = 0, blur: float = 0.0) -> np.ndarray:
    """A dark, nearly upright bar on paper; `lean` pixels further right at its foot."""
    frame = np.full((240, 320, 3), PAPER, np.uint8)
    cv2.line(frame, (160, 20), (160 + lean, 20 + height), (INK, INK, INK), width, cv2.LINE_AA)
    return cv2.GaussianBlur(frame, (0, 0), blur) if blur else frame


def scribble(random: np.random.Generator) -> np.ndarray:
    """Anything: flat, noise, bars, blobs and lines, at any size, up to its edges."""
    longest = int(random.choice([3, 12, 40, 160, 400]))
    height, width = (int(side) for side in random.integers(1, longest + 1, 2))
    frame = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    if random.random() < 0.2:
        frame = random.integers(0, 256, frame.shape, np.uint8)
    for _ in range(int(random.integers(0, 6))):
        color = tuple(int(value) for value in random.integers(0, 256, 3))
        ends = [(int(random.integers(-2, width + 2)), int(random.integers(-2, height + 2))) for _ in range(2)]
        if random.random() < 0.5:
            cv2.rectangle(frame, *ends, color, -1)
        else:
            cv2.line(frame, *ends, color, int(random.integers(1, 9)))
    return frame[..., 0].copy() if random.random() < 0.2 else frame


def test_upright_bars_of_every_proportion_are_found_and_centered() -> None:
    found = 0
    for height in range(60, 201, 20):
        for width in range(4, 25):
            for lean, blur in ((0, 0.0), (3, 1.0), (-5, 2.0)):
                digit = find_digit(stroke(height, width, lean, blur))
                if digit is None:
                    continue
                found += 1
                row, column = center_of_mass(digit.image)
                assert abs(row - CENTER) <= 1 and abs(column - CENTER) <= 1, (height, width, lean, blur, row, column)
    assert found > 200


@pytest.mark.parametrize("shape", [(60, 5), (60, 6), (200, 17), (5, 60), (1, 1), (1, 300), (300, 1), (2, 2)])
def test_any_ink_is_brought_into_form(shape: tuple[int, int]) -> None:
    image = normalize(np.ones(shape, np.float32))
    assert image.shape == (1, SIDE, SIDE) and image.min() >= 0 and image.max() > 0.9
    row, column = center_of_mass(image)
    assert abs(row - CENTER) <= 1 and abs(column - CENTER) <= 1


def test_no_ink_is_a_black_image() -> None:
    assert not normalize(np.zeros((40, 30), np.float32)).any()


@pytest.mark.parametrize("shape", [(2, 8192), (8192, 2), (1, 8192), (1, 1), (3, 3), (16, 8192), (100, 1)])
def test_frames_of_any_proportion(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for frame in (noise, noise[..., 0].copy(), np.zeros_like(noise)):
        digit = find_digit(frame)
        assert digit is None or digit.image.shape == (1, SIDE, SIDE)


def test_strokes_that_leave_no_paper_to_judge() -> None:
    """Within two pixels of every edge of the frame."""
    frame = np.full((30, 12), PAPER, np.uint8)
    frame[3:-3, 3:-3] = INK
    find_digit(frame)
    frame = np.full((24, 10), PAPER, np.uint8)
    frame[2:-2, 2:-2] = INK
    find_digit(frame)


def test_nothing_raises_out_of_many_frames() -> None:
    random = np.random.default_rng(0)
    for _ in range(MANY):
        frame = scribble(random)
        digit = find_digit(frame)
        if digit is None:
            continue
        x, y, w, h = digit.box
        assert x >= 0 and y >= 0 and 0 < w <= frame.shape[1] - x and 0 < h <= frame.shape[0] - y
        assert np.isfinite(digit.image).all() and digit.image.min() >= 0 and digit.image.max() <= 1


WRONG = {
    "no array": [[1, 2], [3, 4]],
    "None": None,
    "float": np.zeros((20, 20, 3), np.float32),
    "BGRA": np.zeros((20, 20, 4), np.uint8),
    "empty": np.zeros((0, 20, 3), np.uint8),
    "a line": np.zeros(20, np.uint8),
}


@pytest.mark.parametrize("frame", WRONG.values(), ids=WRONG)
def test_what_is_no_frame_is_told(frame: object) -> None:
    with pytest.raises(InputError, match=r"frame: got .*, expected uint8 \[H,W,3\] BGR or \[H,W\] gray"):
        find_digit(frame)  # type: ignore[arg-type]
