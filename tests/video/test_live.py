from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from puvae_rt.errors import VideoError
from puvae_rt.video import live as live_module
from puvae_rt.video.live import LiveSource, still_reading
from puvae_rt.video.opening import open_camera, open_stream
from puvae_rt.video.sources import open_source
from puvae_rt.video.urls import redact_url
from tests.video import clips


class Camera:
    """A capture that delivers a frame whenever it is told to, and ends when it runs out."""

    def __init__(self, frames: int, width: float = 160) -> None:
        self.left, self.width, self.released = frames, width, False
        self.shutter, self.looked = threading.Semaphore(0), threading.Semaphore(0)
        self._given = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, key: int) -> float:
        known = {cv2.CAP_PROP_FPS: 15.0, cv2.CAP_PROP_FRAME_WIDTH: self.width, cv2.CAP_PROP_FRAME_HEIGHT: 120.0}
        return known.get(key, 0.0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.looked.release()
        assert self.shutter.acquire(timeout=20)
        if not self.left:
            return False, None
        self.left -= 1
        self._given += 1
        return True, np.full((120, 160, 3), self._given - 1, np.uint8)

    def release(self) -> None:
        self.released = True

    def shoot(self, frames: int = 1) -> None:
        """Lets `frames` go by and returns once the last of them has been handed over."""
        for _ in range(frames):
            assert self.looked.acquire(timeout=20)
            self.shutter.release()
        assert self.looked.acquire(timeout=20)
        self.looked.release()


def live(camera: Camera, **seconds: float) -> LiveSource:
    camera.shutter.release()
    assert camera.looked.acquire  # the first read is already under way
    source = LiveSource("camera", lambda: camera, **seconds)
    assert camera.looked.acquire(timeout=20)
    return source


def test_the_newest_frame_only_and_the_others_are_counted() -> None:
    camera = Camera(100)
    source = live(camera)
    frames = iter(source)
    assert source.fps == 15
    assert next(frames).index == 0 and source.dropped == 0
    camera.shoot(5)
    newest = next(frames)
    assert newest.index == 5 and newest.image.max() == 5
    assert source.dropped == 4
    camera.shoot(1)
    assert next(frames).index == 6 and source.dropped == 4
    camera.shoot(3)
    assert source.dropped == 6  # two more went by, the third is waiting
    close(source, camera)


def close(source: LiveSource, camera: Camera) -> None:
    """As a camera does that delivers its last frame while it is closed."""
    closing = threading.Thread(target=source.close)
    closing.start()
    time.sleep(0.05)
    camera.shutter.release()
    closing.join(20)
    assert camera.released


def test_a_frame_that_waits_comes_before_the_end() -> None:
    camera = Camera(2)
    source = live(camera)
    frames = iter(source)
    next(frames)
    camera.shoot(1)
    camera.shutter.release()  # the read that fails
    time.sleep(0.05)
    assert next(frames).index == 1
    with pytest.raises(VideoError, match="got 2 frames, then it ended or the connection was lost"):
        next(frames)
    assert camera.released


def test_a_stalled_camera() -> None:
    camera = Camera(5)
    source = live(camera, read_seconds=0.1)
    frames = iter(source)
    next(frames)
    with pytest.raises(VideoError, match=r"no frame within 0\.1 s"):
        next(frames)
    close(source, camera)


def test_a_camera_that_never_delivers() -> None:
    camera = Camera(5)
    with pytest.raises(VideoError, match=r"no frame within 0\.1 s"):
        LiveSource("camera", lambda: camera, open_seconds=0.1)
    camera.shutter.release()  # its thread ends all the same
    assert camera.looked.acquire(timeout=20)
    for _ in range(200):
        time.sleep(0.01)
        if camera.released:
            return
    raise AssertionError("the reader goes on")


def test_a_source_that_failed_leaves_no_reader_behind() -> None:
    """The thread ends with the error, and what hangs is known until it comes back."""
    before = threading.active_count()
    with pytest.raises(VideoError):
        LiveSource("camera", lambda: Camera(5, width=1e9))
    assert threading.active_count() == before and not still_reading()
    camera = Camera(5)
    with pytest.raises(VideoError, match="no frame within"):
        LiveSource("camera", lambda: camera, open_seconds=0.1)
    assert still_reading()
    camera.shutter.release()
    wait_until(lambda: not still_reading())


def wait_until(happened: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within ten seconds")


ABANDONED = """
import sys
from functools import partial
from puvae_rt.video.live import LiveSource
from puvae_rt.video.opening import open_stream
url = sys.argv[1]
LiveSource(url, partial(open_stream, url, 1.5, 1.5), open_seconds=1.5)
"""


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_python_ends_by_its_own_way_while_a_reader_hangs(scheme: str) -> None:
    """Both limits at once: the thread comes back while the interpreter ends."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/x"
        command = [sys.executable, "-c", ABANDONED, url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "got no frame within 1.5 s" in ended.stderr
    assert "terminate called" not in ended.stderr


UNCLOSED = """
import sys
from puvae_rt.video.sources import open_source
frames = iter(open_source(sys.argv[1], None))
next(frames)
"""


def test_a_source_that_nobody_closed(mjpeg: str) -> None:
    ended = subprocess.run([sys.executable, "-c", UNCLOSED, mjpeg], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_limits_of_ffmpeg_are_shorter_than_ours() -> None:
    assert live_module.STREAM_OPEN_SECONDS + live_module.STREAM_READ_SECONDS < live_module.OPEN_SECONDS
    assert live_module.STREAM_READ_SECONDS < live_module.READ_SECONDS


@pytest.mark.parametrize("number", ["256", "99999999999999999999", "9" * 5000])
def test_numbers_that_no_camera_has(number: str) -> None:
    with pytest.raises(VideoError, match=r"camera [29]\d+: "):
        open_source(number, lambda: None)


@pytest.mark.parametrize("what", [None, 0, b"clip.mp4", ["clip.mp4"], 1.5, True, ""])
def test_sources_of_another_type(what: object) -> None:
    with pytest.raises(VideoError, match=r"source: got .*expected a video file, a camera's index, a URL"):
        open_source(what, lambda: None)  # type: ignore[arg-type]


def test_an_address_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no URL that OpenCV takes"):
        open_source("http://127.0.0.1/\udcff", lambda: None)


def test_a_size_that_no_camera_has() -> None:
    camera = Camera(5, width=1e9)
    with pytest.raises(VideoError, match="expected sides from 1"):
        LiveSource("camera", lambda: camera)
    assert camera.released


def test_a_reader_that_fails_in_its_thread_fails_in_ours() -> None:
    def broken() -> Camera:
        raise RuntimeError("driver")

    with pytest.raises(VideoError, match="the reader failed: driver"):
        LiveSource("camera", broken)


def test_no_camera_of_that_number() -> None:
    with pytest.raises(VideoError, match="camera 97: cannot be opened"):
        open_source("97", lambda: None)
    with pytest.raises(VideoError, match="camera 97"):
        open_camera(97)


@pytest.mark.parametrize("url", ["ftp://host/a.mp4", "file:///etc/passwd", "concat://a|b", "gopher://x"])
def test_protocols_that_are_no_stream(url: str) -> None:
    with pytest.raises(VideoError, match="expected one of rtsp"):
        open_source(url, lambda: None)


def test_messages_keep_passwords_to_themselves() -> None:
    with pytest.raises(VideoError) as refused:
        open_source("ftp://admin:hidden@host/a?token=hidden", lambda: None)
    assert "hidden" not in str(refused.value) and "ftp://***@host/a?token=***" in str(refused.value)
    with pytest.warns(DeprecationWarning, match=r"is now puvae_rt\.video\.urls\.redact_url"):
        assert live_module.without_password is redact_url


class Mjpeg(BaseHTTPRequestHandler):
    """Twenty JPEG frames, as network cameras send them."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(20):
            jpeg = cv2.imencode(".jpg", clips.textured(index))[1].tobytes()
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            self.wfile.write(head + jpeg + b"\r\n")

    def log_message(self, *args: object) -> None:
        pass


class Stray(Mjpeg):
    """What other servers answer."""

    def do_GET(self) -> None:
        kind = self.path.strip("/").partition("?")[0].partition(".")[0]
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", "/missing.mjpg?token=hidden")
            self.end_headers()
        elif kind in ("refused", "missing"):
            self.send_error({"refused": 401, "missing": 404}[kind])
        else:
            self.send_response(200)
            self.send_header("Content-Type", f"text/{kind}")
            self.end_headers()
            self.wfile.write(b"<html><body>log in</body></html>\n" * 50)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts?token=hidden\n#EXT-X-ENDLIST\n"


class Playlist(Mjpeg):
    """A stream in parts, of which none is there."""

    def do_GET(self) -> None:
        if ".m3u8" not in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(PLAYLIST)))
        self.end_headers()
        self.wfile.write(PLAYLIST)


def test_ffmpeg_keeps_passwords_to_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """It names the part of a stream that fails, and the whole address where a connection does."""
    with serving(Playlist) as port, pytest.raises(VideoError):
        open_source(f"http://user:hidden@127.0.0.1:{port}/live.m3u8?token=hidden", lambda: None)
    with pytest.raises(VideoError):
        open_source("tcp://user:hidden@127.0.0.1:9/hidden", lambda: None)
    assert "hidden" not in "".join(capfd.readouterr())


@pytest.fixture
def mjpeg() -> Iterator[str]:
    with serving(Mjpeg) as port:
        yield f"http://127.0.0.1:{port}/stream.mjpg"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("answer", ["refused.mjpg", "missing.mjpg", "redirect.mjpg", "html", "plain.txt", "html.mjpg"])
def test_stray_answers(answer: str, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(Stray) as port, pytest.raises(VideoError) as refused:
        open_source(f"http://user:hidden@127.0.0.1:{port}/{answer}?token=hidden", lambda: None)
    assert f"http://***@127.0.0.1:{port}/{answer}?token=***: " in str(refused.value)
    assert "hidden" not in "".join((str(refused.value), *capfd.readouterr()))


def test_a_network_camera(mjpeg: str) -> None:
    source = open_source(mjpeg, lambda: None, reconnect=None)
    seen = []
    with pytest.raises(VideoError, match="it ended or the connection was lost"):
        seen.extend(iter(source))
    source.close()
    assert len(seen) + source.dropped == seen[-1].index + 1 >= 15
    assert all(frame.image.shape == (120, 160, 3) and frame.image.mean() > 20 for frame in seen)


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/stream.mjpg"
        started = time.perf_counter()
        with pytest.raises(VideoError):
            LiveSource(url, partial(open_stream, url, 0.5, 0.5), open_seconds=5)
        assert time.perf_counter() - started < 8


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(VideoError, match="cannot be opened as a video stream"):
        open_source(f"http://127.0.0.1:{port}/x.mjpg", lambda: None)
