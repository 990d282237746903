"""A drive towards the signs of real street scenes, made from still pictures: zoom and pan with motion blur.

The truth of every frame is what the scene's annotations become under the same map, so that accuracy can be measured on
a video, of which no public one with German signs and boxes is at hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from puvae_rt.driving.annotations import LEAST_SIDE, SCENES, Sign, boxes_file, read_signs
from puvae_rt.errors import VideoError
from puvae_rt.video.folder import read_picture
from puvae_rt.video.frames import Frame, Pixels

SIZE = (960, 540)
FRAMES_OF_A_SCENE = 60
_FPS = 25.0
_ZOOM = (1.0, 2.2)  # of the scene, from its first frame to its last
_EXPOSURES = 3  # pictures that are averaged into one frame: the blur of what moves while the shutter is open
_SHUTTER = 0.5  # of the time between two frames


class DriveBy:
    """Frames BGR [540,960,3] of annotated scenes, one after another, each driven towards its largest sign.

    Raises:
        VideoError: no annotated sign lies in `folder`.
    """

    name, fps, dropped = "drive-by", _FPS, 0
    counts: Mapping[str, int] = {}

    def __init__(self, folder: Path = SCENES, frames: int = FRAMES_OF_A_SCENE) -> None:
        boxes = boxes_file(folder)
        found = {} if boxes is None else read_signs(boxes, 1)
        self._scenes = {folder / name: signs for name, signs in sorted(found.items()) if signs}
        if not self._scenes or frames < 2:
            raise VideoError(f"{folder}: got no annotated signs or {frames} frames, expected *boxes.json, and 2 frames")
        self._frames = frames
        self._signs: dict[int, tuple[Sign, ...]] = {}  # of the frames that were made, by index

    def __len__(self) -> int:
        return self._frames * len(self._scenes)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        for path, signs in self._scenes.items():
            scene = read_picture(path)
            for step in range(self._frames):
                image = self._exposed(scene, signs, step)
                self._signs[index] = _mapped(signs, self._place(scene, signs, step))
                yield Frame(image, index, captured=time.monotonic(), seconds=index / self.fps)
                index += 1

    def signs_on(self, frame: Frame) -> tuple[Sign, ...]:
        """The truth of a frame of this clip, with its boxes on that frame."""
        return self._signs[frame.index]

    def close(self) -> None:
        """Nothing is open."""

    def _exposed(self, scene: Pixels, signs: tuple[Sign, ...], step: int) -> Pixels:
        """What gathers while the shutter is open, its middle at `step`."""
        total = np.zeros((SIZE[1], SIZE[0], 3), np.float32)
        for share in np.linspace(-_SHUTTER / 2, _SHUTTER / 2, _EXPOSURES):
            place = self._place(scene, signs, step + share)
            total += cv2.warpAffine(scene, place, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(np.rint(total / _EXPOSURES), np.uint8)

    def _place(self, scene: Pixels, signs: tuple[Sign, ...], step: float) -> NDArray[np.float64]:
        """The affine map [2,3] from the scene to the frame at `step`: from the whole of it to its largest sign."""
        height, width = scene.shape[:2]
        share = step / (self._frames - 1)
        base = max(SIZE[0] / width, SIZE[1] / height)
        scale = base * _ZOOM[0] * (_ZOOM[1] / _ZOOM[0]) ** share
        x, y, w, h = max((sign.box for sign in signs), key=lambda box: box[2] * box[3])
        start, end = np.array([width / 2, height / 2]), np.array([x + w / 2, y + h / 2])
        center = start + share * (end - start)
        half = np.array(SIZE) / (2 * scale)
        center = np.clip(center, half, np.maximum(half, [width - half[0], height - half[1]]))
        return np.array([[scale, 0, SIZE[0] / 2 - scale * center[0]], [0, scale, SIZE[1] / 2 - scale * center[1]]])


def _mapped(signs: tuple[Sign, ...], place: NDArray[np.float64]) -> tuple[Sign, ...]:
    """The signs that lie wholly on the frame and are large enough to be read there."""
    found = []
    for sign in signs:
        x, y, w, h = sign.box
        (left, top), (right, bottom) = (place @ [px, py, 1] for px, py in ((x, y), (x + w, y + h)))
        box = round(left), round(top), round(right - left), round(bottom - top)
        inside = left >= 0 and top >= 0 and right <= SIZE[0] and bottom <= SIZE[1]
        if inside and min(box[2:]) >= LEAST_SIDE:
            found.append(Sign(sign.label, box))
    return tuple(found)
