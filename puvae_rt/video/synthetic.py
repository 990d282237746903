"""A made-up camera: real handwritten digits on cards that drift over a desk, with the truth of every frame.

The digits are real images; desk, cards, light, blur and sensor noise are computed. The same seed gives the same clip.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.errors import DataError
from puvae_rt.video.frames import Frame, Pixels, Truth

FPS = 30.0
CARD = 300  # side of a card before it is scaled into the frame
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

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Digit images: uint8 [N,1,28,28], light on black, and labels [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_samples(path: Path) -> Samples:
    """`images` and `labels` of an .npz; DataError when it is missing, damaged or of another form."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: no readable samples ({error}); reinstall the package") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 1 or not 0 < len(images) == len(labels):
        raise DataError(f"{path}: images {images.dtype} {images.shape}; expected uint8 [N,1,H,W] with N labels")
    return Samples(images, labels.astype(np.int64))


@dataclass(frozen=True)
class SyntheticClip:
    """A source of `frames` frames of a card with a digit; every `hold` frames the card changes."""

    name: ClassVar[str] = "synthetic"
    fps: ClassVar[float] = FPS
    dropped: ClassVar[int] = 0

    samples: Samples
    frames: int = 300
    hold: int = 15
    width: int = 640
    height: int = 480
    seed: int = 0

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[Frame]:
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(self.samples.labels))
        desk, light, noise = self._desk(rng), self._light(rng), self._noise(rng)
        for first in range(0, self.frames, self.hold):
            turn = first // self.hold
            sample = order[turn % len(order)]
            card = _Card.drawn(self.samples.images[sample, 0], turn, rng)
            for index in range(first, min(first + self.hold, self.frames)):
                image, box = self._shoot(card, index - first, desk, light, noise, rng)
                yield Frame(image, index, Truth(int(self.samples.labels[sample]), box))

    def close(self) -> None:
        """Nothing is open."""

    def _shoot(
        self, card: _Card, step: int, desk: Floats, light: Floats, noise: Floats, rng: np.random.Generator
    ) -> tuple[Pixels, tuple[int, int, int, int]]:
        """One exposure: shaken desk, card and its shadow, light, lens blur, sensor noise."""
        left, top = rng.integers(0, _SHAKE, 2)
        scene = desk[top : top + self.height, left : left + self.width].copy()
        place = card.placement(step, self.width, self.height)
        size = (self.width, self.height)
        shadow = cv2.warpAffine(card.shadow, place, size, flags=cv2.INTER_LINEAR)
        scene *= 1 - shadow[..., None]
        opaque = cv2.warpAffine(card.opaque, place, size, flags=cv2.INTER_LINEAR)[..., None]
        scene += opaque * (cv2.warpAffine(card.colour, place, size, flags=cv2.INTER_LINEAR) - scene)
        scene *= light
        blurred = cv2.GaussianBlur(scene, (0, 0), card.blur)
        shift = int(rng.integers(0, noise.size - scene.size))
        blurred += noise[shift : shift + scene.size].reshape(scene.shape)
        ink = cv2.warpAffine(card.ink, place, size, flags=cv2.INTER_LINEAR)
        x, y, w, h = cv2.boundingRect((ink > 0.5).astype(np.uint8))
        return np.clip(blurred, 0, 255).astype(np.uint8), (x, y, w, h)

    def _desk(self, rng: np.random.Generator) -> Floats:
        """Wood: streaks of noise stretched along the grain, BGR, larger than a frame."""
        height, width = self.height + _SHAKE, self.width + _SHAKE
        streaks = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigmaX=60, sigmaY=1.5)
        waves = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigmaX=90, sigmaY=25)
        grain = 9 * streaks / streaks.std() + 10 * waves / waves.std()
        return np.asarray(np.array([78, 112, 146]) + grain[..., None], np.float32)

    def _light(self, rng: np.random.Generator) -> Floats:
        """A lamp to one side and the lens's fall-off towards the corners, [H,W,1]."""
        y, x = np.mgrid[-1 : 1 : self.height * 1j, -1 : 1 : self.width * 1j]
        angle = rng.uniform(0, 2 * np.pi)
        lamp = 1 + 0.25 * (np.cos(angle) * x + np.sin(angle) * y)
        return np.asarray((lamp * (1 - 0.12 * (x**2 + y**2)))[..., None], np.float32)

    def _noise(self, rng: np.random.Generator) -> Floats:
        """More sensor noise than a frame needs; each frame starts somewhere else in it."""
        return _SENSOR_NOISE * rng.standard_normal(2 * self.height * self.width * 3, np.float32)


@dataclass(frozen=True)
class _Card:
    """One card with one digit, and how it moves."""

    colour: Floats  # [CARD,CARD,3]
    opaque: Floats  # [CARD,CARD], 1 on the card
    shadow: Floats  # [CARD,CARD], share of the light taken away
    ink: Floats  # [CARD,CARD], 1 on the digit
    centre: NDArray[np.float64]  # where it starts, as share of the free space
    velocity: NDArray[np.float64]  # share of the free space per frame
    angle: float  # degrees
    spin: float  # degrees per frame
    scale: float
    blur: float

    @staticmethod
    def drawn(digit: NDArray[np.uint8], turn: int, rng: np.random.Generator) -> _Card:
        paper, pen = (np.array(colour, np.float32) for colour in _STYLES[turn % len(_STYLES)])
        ink = _ink(digit)
        texture = cv2.GaussianBlur(rng.standard_normal((CARD, CARD)), (0, 0), 1.2).astype(np.float32)
        flat = paper + 10 * texture[..., None]
        opaque = np.zeros((CARD, CARD), np.float32)
        opaque[20:-20, 20:-20] = 1
        shadow = cv2.GaussianBlur(np.roll(opaque, (5, 5), (0, 1)), (0, 0), 5)
        return _Card(
            colour=flat + ink[..., None] * (pen - flat),
            opaque=opaque,
            shadow=0.45 * shadow,
            ink=ink,
            centre=rng.uniform(0.2, 0.8, 2),
            velocity=rng.uniform(-0.02, 0.02, 2),
            angle=rng.uniform(-7, 7),
            spin=rng.uniform(-0.4, 0.4),
            scale=rng.uniform(0.75, 1.15),
            blur=rng.uniform(0.7, 1.4),
        )

    def placement(self, step: int, width: int, height: int) -> NDArray[np.float64]:
        """The affine map from the card to frame number `step` since it appeared; the digit stays in the frame."""
        reach = self.scale * DIGIT * 0.55  # half the digit's side with room for its turn
        free = np.array([width, height]) - 2 * reach
        centre = reach + np.clip(self.centre + step * self.velocity, 0, 1) * free
        place = cv2.getRotationMatrix2D((CARD / 2, CARD / 2), self.angle + step * self.spin, self.scale)
        place[:, 2] += centre - CARD / 2
        return np.asarray(place)


def _ink(digit: NDArray[np.uint8]) -> Floats:
    """28x28 gray levels -> strokes with smooth, pen-like edges on a card, [CARD,CARD] in [0,1]."""
    large = cv2.resize(digit.astype(np.float32) / 255, (DIGIT, DIGIT), interpolation=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(large, (0, 0), 3)
    edge = (CARD - DIGIT) // 2
    ink = np.zeros((CARD, CARD), np.float32)
    ink[edge : edge + DIGIT, edge : edge + DIGIT] = np.clip((smooth - 0.35) / 0.3, 0, 1)
    return ink
