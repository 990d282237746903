"""A stream with its timing in an MCAP file, to be watched in a viewer of robotics data, and replayed.

Frames are lossless PNGs in messages that Foxglove's viewers show; what is known of each lies beside it. Every frame is
a chunk of its own and is handed to the system at once: of a process that is killed, the recording can be played so far.
"""

from __future__ import annotations

import base64
import json
import logging
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO

import cv2
import msgspec
import numpy as np

from puvae_rt.contract import MAX_CLASSES
from puvae_rt.data.headers import read_header
from puvae_rt.errors import FileError, VideoError
from puvae_rt.files import open_regular
from puvae_rt.schema import integer
from puvae_rt.video.capture import MAX_SIDE
from puvae_rt.video.events import EventKind
from puvae_rt.video.frames import Frame, Pixels, Truth
from puvae_rt.video.urls import redact_url

logger = logging.getLogger(__name__)

FRAMES, NOTES = "/camera", "/puvae"  # topics
_PROFILE, _SCHEMA = "", "foxglove.CompressedImage"
_TIME = {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}
_IMAGE = {
    "timestamp": _TIME,
    "frame_id": {"type": "string"},
    "data": {"type": "string", "contentEncoding": "base64"},
    "format": {"type": "string"},
}
_CHUNK = 1 << 10  # bytes: less than any frame
_PNG_LEVEL = 1
_MAX_RECORD = 128 << 20  # bytes of a frame, read
_SECOND = 10**9
_FPS = 30.0


class _Stored(msgspec.Struct):
    """A frame's message, as far as it is read back."""

    data: str
    index: Annotated[int, integer(0, 2**53)] = 0
    label: Annotated[int, integer(0, MAX_CLASSES - 1)] | None = None
    box: tuple[int, int, int, int] | None = None


class Recorder:
    """Writes frames with their timing, and what is known of them.

    Raises:
        VideoError: the file cannot be written, or its disk is full; what was written before can be replayed.
        ModuleNotFoundError: the package `mcap` is not installed.
    """

    def __init__(self, path: Path, source: str) -> None:
        from mcap.writer import CompressionType, Writer

        self.path, self.frames, self._closed = path, 0, False
        # One look at the system's clock: from here on its jumps move no stamp.
        self._wall = time.time_ns() - time.monotonic_ns()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("wb")
        except OSError as error:
            raise self._refused(error) from error
        self._writer = Writer(self._file, chunk_size=_CHUNK, compression=CompressionType.NONE)
        try:
            self._writer.start(_PROFILE, "puvae_rt")
            self._writer.add_metadata("source", {"name": redact_url(source)})
            image = {"type": "object", "properties": _IMAGE}
            self._frames, self._notes = (
                self._writer.register_channel(
                    topic, "json", self._writer.register_schema(name, "jsonschema", json.dumps(schema).encode())
                )
                for topic, name, schema in ((FRAMES, _SCHEMA, image), (NOTES, "puvae.Note", {"type": "object"}))
            )
        except OSError as error:
            self._file.close()
            raise self._refused(error) from error

    def write(self, frame: Frame, note: Mapping[str, Any] | None = None) -> None:
        """A frame, and what is known of it, as JSON."""
        captured = time.monotonic() if frame.captured is None else frame.captured
        at = self._wall + int(captured * _SECOND)
        try:
            self._add(self._frames, at, frame.index, _message(frame, at))
            if note is not None:
                self._add(self._notes, at, frame.index, {"index": frame.index, **note})
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error
        self.frames += 1

    def close(self) -> None:
        """Adds the index; VideoError when there is no room for it (the frames can be replayed without)."""
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.finish()
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, channel: int, at: int, index: int, document: Mapping[str, Any]) -> None:
        data = json.dumps(document, allow_nan=False).encode()
        self._writer.add_message(channel, log_time=at, publish_time=at, sequence=index & 0xFFFFFFFF, data=data)

    def _refused(self, error: OSError) -> VideoError:
        return VideoError(
            f"{self.path}: cannot be written ({error.strerror}) after {self.frames} frames, expected room on its disk "
            "and a writable folder; what was written can be replayed"
        )


def _message(frame: Frame, at: int) -> dict[str, Any]:
    data = cv2.imencode(".png", frame.image, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])[1]
    truth = frame.truth or Truth(None, None)
    return {
        "timestamp": {"sec": at // _SECOND, "nsec": at % _SECOND},
        "frame_id": "camera",
        "format": "png",
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
        "index": frame.index,
        "clock": frame.clock,
        "label": truth.label,
        "box": truth.box,
    }


class RecordingSource:
    """Frames of a recording, each at its own time; one that was cut short gives what it has, with a warning.

    Raises:
        VideoError: it cannot be read, or is no recording; while it is iterated: there is no frame in it.
        ModuleNotFoundError: the package `mcap` is not installed.
    """

    fps, dropped = _FPS, 0

    def __init__(self, path: Path) -> None:
        import mcap.stream_reader  # noqa: F401  # told before anything is opened

        self.name, self.counts = redact_url(str(path)), Counter[str]()
        try:
            self._file = open_regular(path)
        except FileError as error:
            raise VideoError(f"{self.name}: cannot be read ({error.strerror}); give a recording (.mcap)") from error

    def __iter__(self) -> Iterator[Frame]:
        first, index = None, 0
        for at, data in self._messages():
            try:
                stored = msgspec.json.decode(data, type=_Stored)
                image = _picture(stored.data)
            except (msgspec.MsgspecError, ValueError, cv2.error, RecursionError):
                self.counts[EventKind.CORRUPT.value] += 1
                continue
            first = at if first is None else first
            truth = None if stored.label is None else Truth(stored.label, stored.box)
            yield Frame(image, index, truth, time.monotonic(), seconds=max(0, at - first) / _SECOND)
            index += 1
        if not index:
            raise VideoError(f"{self.name}: got no frame, expected a recording of `puvae demo video --record`")

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """Stamp and data of each message with a frame, up to the first damage."""
        from mcap.exceptions import McapError
        from mcap.records import Channel, Chunk, Message
        from mcap.stream_reader import StreamReader, breakup_chunk

        topics: dict[int, str] = {}
        self._file.seek(0)
        try:
            reader = StreamReader(self._file, emit_chunks=True, record_size_limit=_MAX_RECORD)
            for record in reader.records:
                if isinstance(record, Chunk) and record.uncompressed_size > _MAX_RECORD:
                    raise ValueError(f"a chunk of {record.uncompressed_size} bytes")
                for each in breakup_chunk(record) if isinstance(record, Chunk) else [record]:
                    if isinstance(each, Channel):
                        topics[each.id] = each.topic
                    elif isinstance(each, Message) and topics.get(each.channel_id) == FRAMES:
                        yield each.log_time, each.data
        except (McapError, struct.error, ValueError, LookupError, EOFError, OSError) as error:
            logger.warning(
                "%s: cut short or damaged (%s); frames up to there are shown", self.name, type(error).__name__
            )


def _picture(text: str) -> Pixels:
    data = base64.b64decode(text, validate=True) if text.isascii() else b""
    header = read_header(data)
    if not 0 < max(header.width, header.height) <= MAX_SIDE:
        raise ValueError("larger than any camera's")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("no image")
    return np.asarray(image, np.uint8)
