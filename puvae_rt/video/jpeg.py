"""A JPEG of a stream, decoded whole or not at all: decoders fill what is missing with gray and call that a picture."""

from __future__ import annotations

import cv2
import numpy as np

from puvae_rt.data.headers import read_header
from puvae_rt.video.capture import MAX_SIDE
from puvae_rt.video.events import EventKind, Fault
from puvae_rt.video.frames import Pixels

JPEG, _END = b"\xff\xd8\xff", b"\xff\xd9"
_PADDING = b"\0\r\n "  # that cameras put behind a picture


def decode_jpeg(data: bytes, name: str) -> Pixels:
    """BGR [H,W,3]; Fault (corrupt frame) for what is no JPEG, is cut short, or is larger than any camera's."""
    if not data.startswith(JPEG):
        raise Fault(EventKind.CORRUPT, f"{name}: got {len(data)} bytes that are no JPEG")
    if not data.rstrip(_PADDING).endswith(_END):
        raise Fault(EventKind.CORRUPT, f"{name}: got {len(data)} bytes of a JPEG without its end")
    try:
        header = read_header(data)
        if not 0 < max(header.width, header.height) <= MAX_SIDE:
            raise ValueError(f"{header.width}x{header.height} pixels")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (ValueError, cv2.error) as error:
        raise Fault(EventKind.CORRUPT, f"{name}: got a damaged JPEG ({error})") from error
    if image is None:
        raise Fault(EventKind.CORRUPT, f"{name}: got a damaged JPEG")
    return np.asarray(image, np.uint8)
