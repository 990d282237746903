"""What weather and cameras do to pictures of traffic signs: deterministic corruptions of three severities.

The kinds are those of ImageNet-C (Hendrycks and Dietterich 2019), with rain and night for the road; the strengths are
ours, chosen for images of 28 or 32 pixels. Images are float32 [N,C,H,W] in [0,1], and so are the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.attacks.constants import SEVERITIES
from puvae_rt.errors import ContractError

Images = NDArray[np.float32]
Picture = NDArray[np.float32]  # [H,W,C], one image
Corrupt = Callable[[Picture, int, np.random.Generator], Picture]

# By severity, 1 to 3.
_DEFOCUS_RADIUS = (1.0, 1.7, 2.5)  # pixels
_MOTION_LENGTH = (3, 5, 8)  # pixels
_FOG_DENSITY = (0.3, 0.5, 0.7)  # share of the light that comes from the fog
_RAIN_STREAKS = (6, 12, 24)
_NIGHT_LIGHT = (0.4, 0.2, 0.1)  # share of the light that is left
_JPEG_QUALITY = (25, 12, 6)  # of 100
_FOG_COLOR, _RAIN_COLOR = 0.85, 0.8
_RAIN_OPACITY, _RAIN_DIMMING = 0.6, 0.9
_FULL_WELL = 200  # photons of a white pixel in daylight: what makes the shot noise of the night
_READ_NOISE = 0.01  # standard deviation


def corrupt(images: Images, name: str, severity: int, seed: int = 0) -> Images:
    """The images [N,C,H,W] after the corruption `name`, a key of CORRUPTIONS, each with a random stream of its own.

    Args:
        images: float32 in [0,1].
        name: which one.
        severity: 1, 2 or 3.
        seed: of what is random. Image i is the same whatever images stand beside it.
    Raises:
        ContractError: no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise ContractError(f"corruption {name!r}: expected one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ContractError(f"severity {severity}: expected one of {', '.join(map(str, SEVERITIES))}")
    corrupted = []
    for place, image in enumerate(images):
        picture = np.ascontiguousarray(image.transpose(1, 2, 0))
        changed = CORRUPTIONS[name](picture, severity - 1, np.random.default_rng((seed, place)))
        corrupted.append(changed.reshape(picture.shape).transpose(2, 0, 1))  # OpenCV drops a single channel
    return np.clip(np.stack(corrupted), 0, 1).astype(np.float32) if corrupted else images


def _defocus(picture: Picture, level: int, random: np.random.Generator) -> Picture:
    """A disk of light in place of each point."""
    radius = _DEFOCUS_RADIUS[level]
    half = math.ceil(radius)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disk = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)  # its edge is anti-aliased
    return _filter(picture, disk)


def _motion(picture: Picture, level: int, random: np.random.Generator) -> Picture:
    """A line of light in a random direction in place of each point."""
    length = _MOTION_LENGTH[level]
    side = length | 1
    angle = random.uniform(0, math.pi)
    reach = length / 2 * np.array([math.cos(angle), math.sin(angle)])
    ends = ((side // 2 + sign * reach) * 16 for sign in (-1, 1))  # in sixteenths of a pixel
    line = np.zeros((side, side), np.uint8)
    start, end = ((round(x), round(y)) for x, y in ends)
    cv2.line(line, start, end, 255, 1, cv2.LINE_AA, shift=4)
    return _filter(picture, line)


def _fog(picture: Picture, level: int, random: np.random.Generator) -> Picture:
    """Light gray fog in clouds, mixed with the image."""
    coarse = random.uniform(0.75, 1.25, (4, 4)).astype(np.float32)
    height, width = picture.shape[:2]
    density = np.clip(_FOG_DENSITY[level] * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    return np.asarray(picture * (1 - density[:, :, None]) + _FOG_COLOR * density[:, :, None], np.float32)


def _rain(picture: Picture, level: int, random: np.random.Generator) -> Picture:
    """Bright slanted streaks over a slightly darker image."""
    height, width = picture.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    slant = random.uniform(-0.3, 0.3)
    for _ in range(_RAIN_STREAKS[level]):
        x, y = random.integers(0, width), random.integers(-height // 4, height)
        fall = random.integers(height // 8, height // 3)
        cv2.line(streaks, (int(x), int(y)), (round(x + slant * fall), int(y + fall)), 255, 1, cv2.LINE_AA)
    cover = _RAIN_OPACITY * cv2.GaussianBlur(streaks, (3, 3), 0.5).astype(np.float32)[:, :, None] / 255
    return np.asarray(picture * _RAIN_DIMMING * (1 - cover) + _RAIN_COLOR * cover, np.float32)


def _night(picture: Picture, level: int, random: np.random.Generator) -> Picture:
    """Little light, and the noise of the photons and of the sensor."""
    photons = random.poisson(picture * _NIGHT_LIGHT[level] * _FULL_WELL)
    return (photons / _FULL_WELL + random.normal(0, _READ_NOISE, picture.shape)).astype(np.float32)


def _jpeg(picture: Picture, level: int, random: np.random.Generator) -> Picture:
    """Compressed as a JPEG and read again; of color images the order of the channels is OpenCV's meanwhile."""
    levels = np.round(picture[:, :, ::-1] * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY[level]])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32).reshape(picture.shape)
    return np.asarray(decoded[:, :, ::-1] / 255, np.float32)


def _filter(picture: Picture, kernel: NDArray[np.generic]) -> Picture:
    """The picture convolved with a kernel, made to sum to 1; the border is continued outwards."""
    weights = kernel.astype(np.float32) / kernel.sum()
    return np.asarray(cv2.filter2D(picture, -1, weights, borderType=cv2.BORDER_REPLICATE), np.float32)


CORRUPTIONS: dict[str, Corrupt] = {
    "defocus": _defocus,
    "motion": _motion,
    "fog": _fog,
    "rain": _rain,
    "night": _night,
    "jpeg": _jpeg,
}
