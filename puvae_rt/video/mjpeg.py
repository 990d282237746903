"""Motion JPEG over HTTP, read part by part: FFmpeg would show half a picture as a whole one."""

from __future__ import annotations

import http.client
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import partial
from typing import Any

from puvae_rt.errors import VideoError
from puvae_rt.video.events import EventKind, Fault
from puvae_rt.video.feeds import Feed, Shot, nothing_within
from puvae_rt.video.frames import READ_CLOCK
from puvae_rt.video.jpeg import decode_jpeg

_MULTIPART = "multipart/x-mixed-replace"
_MAX_PART, _MAX_HEAD, _CHUNK = 32 << 20, 8 << 10, 64 << 10  # bytes
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_DEFAULT_FPS = 30.0  # such a stream announces none


class MjpegFeed(Feed):
    """The pictures of a multipart answer. A part that is no whole JPEG is a corrupt frame; the next one may be good.

    Args:
        answer: of an HTTP server, its head read; each read of it has a time limit.
        name: for messages; without secrets.
        read_seconds: the longest time for one picture.
    """

    fps = _DEFAULT_FPS

    def __init__(self, answer: Any, name: str, read_seconds: float) -> None:
        self._answer, self._name, self._seconds = answer, name, read_seconds
        boundary = str(answer.headers.get_param("boundary") or "").strip('"')
        self._boundary = b"--" + boundary.removeprefix("--").encode("latin-1", "replace")
        self._data = bytearray()
        self._deadline = 0.0

    def read(self) -> Shot:
        """The next part as a picture, stamped when its last byte is here."""
        self._deadline = time.monotonic() + self._seconds
        part = self._part()
        captured = time.monotonic()
        return Shot(decode_jpeg(part, self._name), captured, READ_CLOCK)

    def close(self) -> None:
        """Closes the connection."""
        self._answer.close()

    def _part(self) -> bytes:
        """The body of the next part."""
        self._until(self._boundary, _MAX_PART)
        head = self._until_blank_line()
        if length := _LENGTH.search(head):
            size = int(length.group(1))
            if size > _MAX_PART:
                raise Fault(EventKind.CORRUPT, f"{self._name}: a part announces {size} bytes, more than {_MAX_PART}")
            while len(self._data) < size:
                self._more()
            return self._cut(size)
        body = self._until(self._boundary, _MAX_PART)
        self._data[:0] = self._boundary  # of the next part
        return body.rstrip(b"\r\n")

    def _until_blank_line(self) -> bytes:
        while (match := re.search(rb"\r?\n\r?\n", self._data)) is None:
            if len(self._data) > _MAX_HEAD:
                self._data.clear()
                raise Fault(EventKind.CORRUPT, f"{self._name}: a part's head has no end within {_MAX_HEAD} bytes")
            self._more()
        return self._cut(match.end())

    def _until(self, mark: bytes, most: int) -> bytes:
        """What stands before `mark`, which goes, too."""
        start = 0
        while (at := self._data.find(mark, start)) < 0:
            if len(self._data) > most:
                self._data.clear()
                raise Fault(EventKind.CORRUPT, f"{self._name}: no boundary within {most} bytes")
            start = max(0, len(self._data) - len(mark))
            self._more()
        return self._cut(at + len(mark))[:at]

    def _cut(self, size: int) -> bytes:
        part = bytes(self._data[:size])
        del self._data[:size]
        return part

    def _more(self) -> None:
        try:
            data = self._answer.read1(_CHUNK)
        except TimeoutError:
            raise Fault(EventKind.STALLED, nothing_within(self._name, self._seconds)) from None
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            data = b""  # it was cut, or closed while it was read
        if not data:
            raise Fault(EventKind.LOST, f"{self._name}: it ended or the connection was lost; reconnect")
        self._data += data
        if time.monotonic() > self._deadline:
            raise Fault(EventKind.STALLED, nothing_within(self._name, self._seconds))


def open_mjpeg(url: str, name: str, open_seconds: float, read_seconds: float) -> MjpegFeed | None:
    """The feed of an http(s) address; None where it answers with something else than parts of a picture stream.

    Args:
        url: with user and password in it, if they are needed.
        name: `url` without secrets.
        open_seconds: until the head of the answer.
        read_seconds: between two pictures.
    Raises:
        VideoError: nobody answers, or with an error.
    """
    started, sockets = time.monotonic(), list[socket.socket]()
    try:
        answer = _opener(url, sockets).open(_bare(url), timeout=open_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        raise VideoError(_refused(name, f"HTTP {error.code}")) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        # not `from error`: it may hold the address with its secrets
        reason = getattr(error, "reason", error)
        waited = round(time.monotonic() - started, 1)
        if isinstance(reason, TimeoutError):
            raise VideoError(nothing_within(name, waited)) from None
        if isinstance(error, (ValueError, http.client.InvalidURL)):
            raise VideoError(f"{name}: cannot be opened as a video stream; it is no URL that OpenCV takes") from None
        raise VideoError(_refused(name, "no answer")) from None
    if answer.headers.get_content_type().lower() != _MULTIPART or not answer.headers.get_param("boundary"):
        answer.close()
        return None
    for each in sockets:
        each.settimeout(read_seconds)
    return MjpegFeed(answer, name, read_seconds)


def _refused(name: str, got: str) -> str:
    return (
        f"{name}: cannot be opened as a video stream: got {got}, expected one from a server that sends a video; "
        "check address, network, user and password"
    )


def _parts(url: str) -> tuple[urllib.parse.SplitResult, str, str | None]:
    """The address, the user and the password."""
    split = urllib.parse.urlsplit(url)
    user, colon, password = split.netloc.rpartition("@")[0].partition(":")
    return split, urllib.parse.unquote(user), urllib.parse.unquote(password) if colon else None


def _bare(url: str) -> str:
    split = _parts(url)[0]
    return urllib.parse.urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2], fragment=""))


def _opener(url: str, sockets: list[socket.socket]) -> urllib.request.OpenerDirector:
    """With user and password for Basic and Digest, which are given to this server alone, when it asks.

    Open sockets are added to `sockets`.
    """
    kept = _Http(sockets), _Https(sockets)
    _, user, password = _parts(url)
    if not user:
        return urllib.request.build_opener(*kept)
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, _bare(url), user, password or "")
    kinds = urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)
    return urllib.request.build_opener(*kept, *kinds)


class _Http(urllib.request.HTTPHandler):
    """Keeps the sockets, whose time limit is another once the answer has begun."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._sockets), request)


class _Https(urllib.request.HTTPSHandler):
    """The same under TLS."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPSConnection, self._sockets), request)


def _connection(kind: Any, sockets: list[socket.socket], host: str, **options: Any) -> Any:
    connection = kind(host, **options)
    connect = connection.connect

    def keep() -> None:
        connect()
        sockets.append(connection.sock)

    connection.connect = keep
    return connection
