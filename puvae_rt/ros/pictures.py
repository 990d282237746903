"""Pictures between sensor_msgs and NumPy, without ROS: the messages' fields come in and go out as plain values."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from puvae_rt.errors import InputError
from puvae_rt.runtime.results import Floats
from puvae_rt.video.events import Fault
from puvae_rt.video.frames import Pixels
from puvae_rt.video.jpeg import decode_jpeg

# Encoding of sensor_msgs/Image -> bytes of a pixel, and the conversion to BGR; None where it is BGR or gray already.
ENCODINGS: dict[str, tuple[int, int | None]] = {
    "mono8": (1, None),
    "8UC1": (1, None),
    "bgr8": (3, None),
    "8UC3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
}
MAX_BYTES = 1 << 28


class Raw(NamedTuple):
    """The fields of a sensor_msgs/Image but for its header."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any  # a buffer of height * step bytes


def pixels_of(picture: Raw) -> Pixels:
    """BGR [H,W,3] or gray [H,W]; a view of the data where nothing is converted.

    Raises:
        InputError: an encoding that is not of eight bits, or fields that do not fit each other.
    """
    height, width, encoding, step, data = picture
    if encoding not in ENCODINGS:
        raise InputError(f"encoding: got {encoding!r}, expected one of {', '.join(ENCODINGS)}; convert it upstream")
    pixel, conversion = ENCODINGS[encoding]
    if width < 1 or height < 1 or step < width * pixel or height * step > MAX_BYTES:
        raise InputError(
            f"image: got {width}x{height} pixels of {encoding} with a step of {step} bytes, expected positive sides, "
            f"a step of at least {width * pixel}, and at most {MAX_BYTES} bytes"
        )
    flat = np.frombuffer(data, np.uint8)
    if len(flat) != height * step:
        raise InputError(f"image: got {len(flat)} bytes, expected {height * step}, height * step")
    rows = flat.reshape(height, step)[:, : width * pixel]
    if pixel == 1:
        return rows
    shaped = rows.reshape(height, width, pixel)
    return shaped if conversion is None else np.asarray(cv2.cvtColor(shaped, conversion), np.uint8)


def decoded(data: Any) -> Pixels:
    """BGR [H,W,3] of a sensor_msgs/CompressedImage; InputError for what is no whole JPEG."""
    try:
        return decode_jpeg(bytes(data), "compressed image")
    except Fault as error:
        raise InputError(f"{error}, expected a whole JPEG") from error


def crop_of(image: Floats) -> Raw:
    """A purified image [C,H,W] in [0,1] as a message's fields: mono8 or rgb8."""
    channels, height, width = image.shape
    levels = np.rint(np.moveaxis(image, 0, -1) * 255).astype(np.uint8)
    return Raw(height, width, "mono8" if channels == 1 else "rgb8", width * channels, levels.tobytes())
