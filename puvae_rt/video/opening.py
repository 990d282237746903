"""Opens cameras, streams and pipelines, each by the reader that tells most of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2

from puvae_rt.errors import VideoError
from puvae_rt.video import gst
from puvae_rt.video.capture import Capture
from puvae_rt.video.feeds import Feed, nothing_within
from puvae_rt.video.live import READ_SECONDS, STREAM_OPEN_SECONDS, STREAM_READ_SECONDS
from puvae_rt.video.mjpeg import open_mjpeg
from puvae_rt.video.uri import SourceKind, SourceUri
from puvae_rt.video.urls import redact_url

logger = logging.getLogger(__name__)

MAX_CAMERA = 255  # larger numbers mean other things to OpenCV
_HTTP, _RTSP = ("http://", "https://"), ("rtsp://", "rtsps://")


def opener(uri: SourceUri, rate: float | None = None) -> Callable[[], Capture | Feed]:
    """What opens a live source; `rate` is asked of a camera, in frames a second."""
    if uri.kind is SourceKind.CAMERA:
        return partial(open_camera, int(uri.target) if uri.target.isdecimal() else uri.target, rate)
    if uri.kind is SourceKind.CSI:
        asked = dict(uri.options) | ({"rate": round(rate)} if rate else {})
        return partial(open_pipeline, gst.csi_pipeline(uri.target, asked), uri.name)
    if uri.kind is SourceKind.GSTREAMER:
        return partial(open_pipeline, gst.pipeline_of(uri.target), uri.name)
    return partial(open_stream, uri.target)


def device_of(uri: SourceUri) -> Path | None:
    """The device file of a camera, where this system has such files."""
    if uri.kind is not SourceKind.CAMERA:
        return None
    path = Path(f"/dev/video{uri.target}" if uri.target.isdecimal() else uri.target)
    return path if path.exists() else None


def open_camera(index: int | str, rate: float | None = None) -> Capture:
    """A camera of this machine by its number or its device file."""
    path = None if isinstance(index, int) else str(index)
    capture = None
    if path is not None:
        capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
    elif isinstance(index, int) and 0 <= index <= MAX_CAMERA:
        capture = cv2.VideoCapture(index)
    if capture is None or not capture.isOpened():
        devices = ", ".join(sorted(found.name for found in Path("/dev").glob("video*"))) or "none"
        raise VideoError(
            f"camera {index}: cannot be opened (video devices here: {devices}); connect it, close other programs that "
            "use it, and join the group 'video' if the device exists"
        )
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver has that: the newest frame rather than a queue
    if rate is not None:
        capture.set(cv2.CAP_PROP_FPS, rate)
    return capture


def open_pipeline(pipeline: str, name: str) -> Capture | Feed:
    """A GStreamer pipeline with its sink, through PyGObject, or where that is missing through an OpenCV that can."""
    if gst.load_gst() is not None:
        return gst.GstFeed(pipeline, name, READ_SECONDS)
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
        if capture.isOpened():
            return capture
        raise VideoError(f"{name}: OpenCV's GStreamer cannot start the pipeline; try it with gst-launch-1.0")
    raise VideoError(f"{name}: no GStreamer here; {gst.INSTALL}")


def open_stream(
    url: str, open_seconds: float = STREAM_OPEN_SECONDS, read_seconds: float = STREAM_READ_SECONDS
) -> Capture | Feed:
    """A network stream. Each reader has time limits of its own, so that its thread ends.

    Motion JPEG over HTTP is read here, RTSP by GStreamer where it is installed, all else by FFmpeg.
    """
    name = redact_url(url)
    if url.lower().startswith(_HTTP):
        feed = open_mjpeg(url, name, open_seconds, read_seconds)
        if feed is not None:
            return feed
    if url.lower().startswith(_RTSP):
        if gst.has_elements(*gst.RTSP_ELEMENTS):
            return gst.rtsp_feed(url, name, open_seconds, read_seconds)
        logger.info("%s: read by FFmpeg, frames are stamped when they arrive; GStreamer stamps them earlier", name)
    return _open_ffmpeg(url, name, open_seconds, read_seconds)


def _open_ffmpeg(url: str, name: str, open_seconds: float, read_seconds: float) -> Capture:
    limits = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1e3 * open_seconds)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1e3 * read_seconds)),
    ]
    started = time.monotonic()
    try:
        url.encode("utf-8")  # OpenCV ends the process over anything else
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    except (UnicodeEncodeError, cv2.error):  # whose texts may hold the address
        raise VideoError(f"{name}: cannot be opened as a video stream; it is no URL that OpenCV takes") from None
    if capture.isOpened():
        return capture
    if (waited := time.monotonic() - started) >= open_seconds:
        raise VideoError(nothing_within(name, round(waited, 1)))
    raise VideoError(
        f"{name}: cannot be opened as a video stream: nothing answers there, or with something else than a video "
        "(an error, a web page, a request for a password); check address, network and password"
    )
