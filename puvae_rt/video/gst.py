"""GStreamer pipelines through PyGObject, which knows when a picture was taken: PyPI's OpenCV is built without it."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import numpy as np

from puvae_rt.errors import VideoError
from puvae_rt.video.capture import MAX_SIDE
from puvae_rt.video.events import EventKind, Fault
from puvae_rt.video.feeds import Feed, Shot, nothing_within
from puvae_rt.video.frames import GSTREAMER_CLOCK, READ_CLOCK, Pixels

_DEBIAN = Path("/usr/lib/python3/dist-packages/gi")  # python3-gi's, which a virtual environment does not see
_SINK = "puvae_sink"
_TAIL = (
    "videoconvert ! video/x-raw,format=BGR ! "
    f"appsink name={_SINK} max-buffers=1 drop=true sync=false enable-last-sample=false"
)
_SOURCE = "puvae_source"
_RTSP = f"rtspsrc name={_SOURCE} latency=0 drop-on-latency=true ! decodebin ! {_TAIL}"
_CSI = (
    "nvarguscamerasrc sensor-id={number} ! "
    "video/x-raw(memory:NVMM),width={width},height={height},framerate={rate}/1 ! "
    f"nvvidconv flip-method={{flip}} ! video/x-raw,format=BGRx ! {_TAIL}"
)
_CSI_USUAL = {"width": 1280, "height": 720, "rate": 30, "flip": 0}
_OLDEST, _SECOND = 30.0, 1e9
INSTALL = (
    "expected GStreamer with PyGObject (Debian, Ubuntu, JetPack: apt-get install python3-gi gir1.2-gstreamer-1.0 "
    "gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good, and the system's own Python)"
)


def load_gst() -> Any | None:
    """The Gst module, started; None where it is not installed."""
    if "gi" not in sys.modules and importlib.util.find_spec("gi") is None and not _adopt_debian():
        return None
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import Gst, GstApp  # noqa: F401  # gives the sink its methods

        Gst.init(None)
    except (ImportError, ValueError):
        return None
    return Gst


def has_elements(*names: str) -> bool:
    """Whether GStreamer is here with all of these."""
    gst = load_gst()
    return gst is not None and all(gst.ElementFactory.find(name) for name in names)


def pipeline_of(line: str) -> str:
    """A pipeline as it is launched, its sink behind it."""
    return f"{line} ! {_TAIL}"


def csi_pipeline(number: str, options: dict[str, int]) -> str:
    """The pipeline of a camera on a Jetson's CSI connector."""
    return _CSI.format(number=number, **(_CSI_USUAL | options))


class GstFeed(Feed):
    """A pipeline that runs.

    Args:
        pipeline: with the sink that `pipeline_of` adds.
        name: for messages; without secrets.
        read_seconds: the longest time for one picture.
        location: of the element that reads rtsp://, given here so that no message of GStreamer's shows it.
    Raises:
        VideoError: GStreamer is not here, or cannot make or start the pipeline.
    """

    fps = 30.0
    _first: Shot | None

    def __init__(self, pipeline: str, name: str, read_seconds: float, location: str = "") -> None:
        self._name, self._seconds = name, read_seconds
        gst = load_gst()
        if gst is None:
            raise VideoError(f"{name}: no GStreamer here; {INSTALL}")
        self._gst = gst
        try:
            self._pipeline = gst.parse_launch(pipeline)
        except Exception as error:  # GLib.Error; its text may repeat the pipeline: only its kind is told
            code = getattr(error, "code", None)
            raise VideoError(
                f"{name}: GStreamer cannot make the pipeline (error {code}); expected elements that "
                "`gst-inspect-1.0` knows and properties that they have, and no sink: try it with gst-launch-1.0"
            ) from None
        if location:
            self._pipeline.get_by_name(_SOURCE).set_property("location", location)
        self._sink = self._pipeline.get_by_name(_SINK)
        self._last, self._first = -1, None
        if self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            self.close()
            raise VideoError(f"{name}: GStreamer cannot start the pipeline; check the device, or try gst-launch-1.0")

    def begin(self, read_seconds: float) -> None:
        """Waits for the first picture, which `read` then gives; from there on `read_seconds` are the limit."""
        started = time.monotonic()
        try:
            self._first = self.read()
        except Fault as fault:
            if fault.kind is EventKind.STALLED:
                raise VideoError(nothing_within(self._name, round(time.monotonic() - started, 1))) from fault
            raise VideoError(
                f"{self._name}: cannot be opened as a video stream: nothing answers there, or with something else "
                "than a video (an error, a request for a password); check address, network and password"
            ) from fault
        self._seconds = read_seconds

    def read(self) -> Shot:
        """The next picture, stamped by the pipeline's clock."""
        first, self._first = self._first, None
        return self._next() if first is None else first

    def _next(self) -> Shot:
        sample = self._sink.try_pull_sample(int(self._seconds * _SECOND))
        now = time.monotonic()
        if sample is None:
            raise self._fault()
        buffer, structure = sample.get_buffer(), sample.get_caps().get_structure(0)
        self._take_rate(structure)
        if buffer.pts != self._gst.CLOCK_TIME_NONE and buffer.pts == self._last:
            raise Fault(EventKind.CORRUPT, f"{self._name}: the pipeline gave the last frame again")
        self._last = buffer.pts
        image = self._image(buffer, structure.get_value("width"), structure.get_value("height"))
        age = self._age(buffer.pts)
        return Shot(image, now, READ_CLOCK) if age is None else Shot(image, now - age, GSTREAMER_CLOCK)

    def close(self) -> None:
        """Stops the pipeline."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _take_rate(self, structure: Any) -> None:
        good, above, below = structure.get_fraction("framerate")
        if good and above and below:
            self.fps = above / below

    def _image(self, buffer: Any, width: int, height: int) -> Pixels:
        """Rows are padded to four bytes."""
        stride = -(-3 * width // 4) * 4
        data = buffer.extract_dup(0, buffer.get_size())
        if not 0 < max(width, height) <= MAX_SIDE or len(data) < stride * height:
            raise Fault(EventKind.CORRUPT, f"{self._name}: got {len(data)} bytes for {width}x{height} pixels")
        rows = np.frombuffer(data, np.uint8, stride * height).reshape(height, stride)
        return np.ascontiguousarray(rows[:, : 3 * width].reshape(height, width, 3))

    def _age(self, pts: int) -> float | None:
        """Seconds since the picture's stamp; None where there is none, or it cannot be."""
        clock = self._pipeline.get_clock()
        if clock is None or pts == self._gst.CLOCK_TIME_NONE:
            return None
        age = float((clock.get_time() - self._pipeline.get_base_time() - pts) / _SECOND)
        return age if 0 <= age < _OLDEST else None

    def _fault(self) -> Fault:
        if self._sink.get_property("eos"):
            return Fault(EventKind.LOST, f"{self._name}: it ended or the connection was lost; reconnect")
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is not None:  # its text may hold the address
            domain = message.parse_error()[0].domain
            return Fault(EventKind.LOST, f"{self._name}: GStreamer reports an error ({domain}); check the source")
        return Fault(EventKind.STALLED, nothing_within(self._name, self._seconds))


def rtsp_feed(url: str, name: str, open_seconds: float, read_seconds: float) -> GstFeed:
    """An rtsp:// address through GStreamer; VideoError without a picture within `open_seconds`."""
    feed = GstFeed(_RTSP, name, open_seconds, url)
    try:
        feed.begin(read_seconds)
    except BaseException:
        feed.close()
        raise
    return feed


RTSP_ELEMENTS = ("rtspsrc", "decodebin", "videoconvert", "appsink")


def _adopt_debian() -> bool:
    """Makes Debian's PyGObject importable where it was built for this Python."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX") or ""
    if not (_DEBIAN / f"_gi{suffix}").is_file():
        return False
    place = importlib.util.spec_from_file_location(
        "gi", _DEBIAN / "__init__.py", submodule_search_locations=[str(_DEBIAN)]
    )
    if place is None or place.loader is None:
        return False
    module = importlib.util.module_from_spec(place)
    sys.modules["gi"] = module
    try:
        place.loader.exec_module(module)
    except ImportError:
        del sys.modules["gi"]
        return False
    return True
