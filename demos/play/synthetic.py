"""A made-up camera: real handwritten digits on cards that drift over a desk, with the truth of every frame.

The digits are real images; desk, cards, light, blur and sensor noise are computed. The same seed gives the same clip.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.data.archive import open_archive
from puvae_rt.errors import DataError
from puvae_rt.runtime.assets import SAMPLES_FILE, shipped
from puvae_rt.video.frames import Box, Frame, Pixels, Truth

FPS = 30.0
CARD = 300  # side of a card before it is scaled into the frame
_USUAL_HEIGHT = 480  # of a frame, in which a card of scale 1 keeps its size
DIGIT = 230  # side of the 28x28 image on its card
_SHAKE = 4  # pixels by which the camera trembles
_SENSOR_NOISE = 4.0  # standard deviation, gray levels

# Card and ink, BGR.
_STYLES = (
    ((222, 232, 235), (70, 40, 30)),  # paper, blue-black ink
    ((52, 58, 50), (225, 232, 228)),  # slate, chalk
    ((190, 222, 236), (45, 45, 48)),  # yellowish paper, pencil
    ((60, 48, 44), (215, 220, 236)),  # dark card, white marker
)

_MAX_BYTES = 256 << 20  # of samples, unpacked
_REMEDY = "give an .npz with images uint8 [N,1,28,28] and labels [N]"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Digit images: uint8 [N,1,28,28], light on black, and labels [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_samples(path: Path) -> Samples:
    """`images` and `labels` of an .npz; DataError when it is missing, damaged, too large or of another form."""
    with open_archive(path, "readable as samples", _REMEDY, limit=_MAX_BYTES) as file:
        images, labels = file.array("images"), file.array("labels")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 1 or not images.size:
        raise DataError(f"{path}: images {images.dtype} {images.shape}; expected uint8 [N,1,H,W]; {_REMEDY}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or not 0 <= labels.min() <= labels.max() <= 9:
        raise DataError(
            f"{path}: labels {labels.dtype} {labels.shape}; expected {len(images)} digits 0 to 9; {_REMEDY}"
        )
    return Samples(images, labels.astype(np.int64))


def load_shipped(model: str) -> Samples:
    """The test images that ship with `model`; DataError when it ships none, or other than gray ones."""
    found = shipped(model)
    if SAMPLES_FILE not in found.sha256:
        raise DataError(
            f"model {model!r} ships no test images to film, expected a model with {SAMPLES_FILE}; film others with "
            "`puvae demo make-clip --samples FILE.npz` and give the clip as --source, or choose another --model"
        )
    return load_samples(found.path(SAMPLES_FILE))


@dataclass(frozen=True)
class SyntheticClip:
    """A source of `frames` frames of a card with a digit; every `hold` frames the card changes."""

    name: ClassVar[str] = "synthetic"
    fps: ClassVar[float] = FPS
    dropped: ClassVar[int] = 0
    counts: ClassVar[Mapping[str, int]] = MappingProxyType({})

    samples: Samples
    frames: int = 300
    hold: int = 15
    width: int = 640
    height: int = _USUAL_HEIGHT
    seed: int = 0

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[Frame]:
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(self.samples.labels))
        studio = _Studio.furnished(self.width, self.height, rng)
        for first in range(0, self.frames, self.hold):
            turn = first // self.hold
            sample = order[turn % len(order)]
            card = _Card.drawn(self.samples.images[sample, 0], turn, rng)
            for index in range(first, min(first + self.hold, self.frames)):
                image, box = studio.shoot(card, index - first, rng)
                truth = Truth(int(self.samples.labels[sample]), box)
                yield Frame(image, index, truth, time.monotonic(), seconds=index / FPS)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class _Studio:
    """What stays the same from frame to frame; `_SHAKE` pixels larger than a frame."""

    desk: Floats  # [H,W,3] lit
    desk_pixels: Pixels  # the same
    light: Floats  # [H,W,1]
    noise: NDArray[np.int8]  # of the sensor: more than a frame needs, each frame starts somewhere else in it
    width: int
    height: int

    @staticmethod
    def furnished(width: int, height: int, rng: np.random.Generator) -> _Studio:
        size = height + _SHAKE, width + _SHAKE
        wood, light = _wood(*size, rng), _light(*size, rng)
        noise = np.round(_SENSOR_NOISE * rng.standard_normal(2 * height * width * 3, np.float32)).astype(np.int8)
        desk = wood * light
        return _Studio(desk, np.clip(desk, 0, 255).astype(np.uint8), light, noise, width, height)

    def shoot(self, card: _Card, step: int, rng: np.random.Generator) -> tuple[Pixels, Box]:
        """One exposure: shaken desk, card and its shadow, light, lens blur, sensor noise; and the digit's box."""
        left, top = (int(shake) for shake in rng.integers(0, _SHAKE, 2))
        image = self.desk_pixels[top : top + self.height, left : left + self.width].copy()
        place = card.placement(step, self.width, self.height)
        x, y, w, h = region = _clipped(_bounds(place), self.width, self.height)
        place[:, 2] -= x, y
        seen = slice(top + y, top + y + h), slice(left + x, left + x + w)
        image[y : y + h, x : x + w] = card.lying(place, self.desk[seen], self.light[seen])
        shift = int(rng.integers(0, self.noise.size - image.size))
        noisy = cv2.add(image, self.noise[shift : shift + image.size].reshape(image.shape), dtype=cv2.CV_8U)
        return np.asarray(noisy, np.uint8), card.digit_box(place, region)


def _wood(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Streaks of noise stretched along the grain, BGR."""
    streaks = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigmaX=60, sigmaY=1.5)
    waves = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigmaX=90, sigmaY=25)
    grain = 9 * streaks / streaks.std() + 10 * waves / waves.std()
    return np.asarray(np.array([78, 112, 146]) + grain[..., None], np.float32)


def _light(height: int, width: int, rng: np.random.Generator) -> Floats:
    """A lamp to one side and the lens's fall-off towards the corners, [H,W,1]."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    lamp = 1 + 0.25 * (np.cos(angle) * x + np.sin(angle) * y)
    return np.asarray((lamp * (1 - 0.12 * (x**2 + y**2)))[..., None], np.float32)


def _bounds(place: NDArray[np.float64]) -> Box:
    """The box of a placed card."""
    corners = np.array([[0, 0, 1], [CARD, 0, 1], [0, CARD, 1], [CARD, CARD, 1]]) @ place.T
    left, top = (int(v) for v in np.floor(corners.min(axis=0)))
    right, bottom = (int(v) for v in np.ceil(corners.max(axis=0)))
    return left, top, right - left, bottom - top


def _clipped(box: Box, width: int, height: int) -> Box:
    x, y = max(0, box[0]), max(0, box[1])
    return x, y, min(width, box[0] + box[2]) - x, min(height, box[1] + box[3]) - y


@dataclass(frozen=True)
class _Card:
    """One card with one digit, and how it moves."""

    color: Floats  # [CARD,CARD,3]
    opaque: Floats  # [CARD,CARD], 1 on the card
    shadow: Floats  # [CARD,CARD], share of the light taken away
    ink: Floats  # [CARD,CARD], 1 on the digit
    center: NDArray[np.float64]  # where it starts, as share of the free space
    velocity: NDArray[np.float64]  # share of the free space per frame
    angle: float  # degrees
    spin: float  # degrees per frame
    scale: float
    blur: float

    @staticmethod
    def drawn(digit: NDArray[np.uint8], turn: int, rng: np.random.Generator) -> _Card:
        paper, pen = (np.array(color, np.float32) for color in _STYLES[turn % len(_STYLES)])
        ink = _ink(digit)
        texture = cv2.GaussianBlur(rng.standard_normal((CARD, CARD)), (0, 0), 1.2).astype(np.float32)
        flat = paper + 10 * texture[..., None]
        opaque = np.zeros((CARD, CARD), np.float32)
        opaque[20:-20, 20:-20] = 1
        shadow = cv2.GaussianBlur(np.roll(opaque, (5, 5), (0, 1)), (0, 0), 5)
        return _Card(
            color=flat + ink[..., None] * (pen - flat),
            opaque=opaque,
            shadow=0.45 * shadow,
            ink=ink,
            center=rng.uniform(0.2, 0.8, 2),
            velocity=rng.uniform(-0.02, 0.02, 2),
            angle=rng.uniform(-7, 7),
            spin=rng.uniform(-0.4, 0.4),
            scale=rng.uniform(0.75, 1.15),
            blur=rng.uniform(0.7, 1.4),
        )

    def lying(self, place: NDArray[np.float64], desk: Floats, light: Floats) -> Pixels:
        """The card on this part of the desk, as the lens sees it."""
        size = desk.shape[1], desk.shape[0]
        shadow, opaque, color = (
            cv2.warpAffine(layer, place, size, flags=cv2.INTER_LINEAR)
            for layer in (self.shadow, self.opaque, self.color)
        )
        scene = desk * (1 - shadow[..., None])
        scene += opaque[..., None] * (color * light - scene)
        blurred = cv2.GaussianBlur(scene, (0, 0), self.blur)
        return np.asarray(np.clip(blurred, 0, 255), np.uint8)

    def digit_box(self, place: NDArray[np.float64], region: Box) -> Box:
        """The digit's box on the frame, of which the card covers `region`."""
        ink = cv2.warpAffine(self.ink, place, region[2:], flags=cv2.INTER_LINEAR)
        x, y, w, h = cv2.boundingRect((ink > 0.5).astype(np.uint8))
        return region[0] + x, region[1] + y, w, h

    def placement(self, step: int, width: int, height: int) -> NDArray[np.float64]:
        """The affine map from the card to frame number `step` since it appeared; the digit stays in the frame."""
        scale = self.scale * min(width, height) / _USUAL_HEIGHT
        reach = scale * DIGIT * 0.55  # half the digit's side with room for its turn
        free = np.array([width, height]) - 2 * reach
        center = reach + np.clip(self.center + step * self.velocity, 0, 1) * free
        place = cv2.getRotationMatrix2D((CARD / 2, CARD / 2), self.angle + step * self.spin, scale)
        place[:, 2] += center - CARD / 2
        return np.asarray(place)


def _ink(digit: NDArray[np.uint8]) -> Floats:
    """28x28 gray levels -> strokes with smooth, pen-like edges on a card, [CARD,CARD] in [0,1]."""
    large = cv2.resize(digit.astype(np.float32) / 255, (DIGIT, DIGIT), interpolation=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(large, (0, 0), 3)
    edge = (CARD - DIGIT) // 2
    ink = np.zeros((CARD, CARD), np.float32)
    ink[edge : edge + DIGIT, edge : edge + DIGIT] = np.clip((smooth - 0.35) / 0.3, 0, 1)
    return ink
