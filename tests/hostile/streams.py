"""Hostile cameras: servers on this machine that refuse, stall, cut, damage or change what they send."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from puvae_rt.video.live import LiveSource
from puvae_rt.video.opening import open_stream
from puvae_rt.video.urls import redact_url
from tests.hostile.damage import damaged
from tests.hostile.harness import RIGHT, Kind

SECRET = "hostile-secret"
WAIT = 0.6  # seconds that a reader of ours waits here
FRAMES = 6
SIZE = (96, 64)
PART = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Camera)
        self.kind, self.draw, self.ended = "whole", random.Random(0), threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that went away is what is wanted here."""


class _Camera(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        kind, draw = self.server.kind, self.server.draw
        if kind == "silent":
            self.server.ended.wait(20)
        elif kind in ("401", "404", "500", "204"):
            self.send_response(int(kind))
            self.end_headers()
        elif kind == "loop":
            self.send_response(302)
            self.send_header("Location", f"/{draw.random()}")
            self.end_headers()
        elif kind == "page":
            self._begin("text/html")
            self.wfile.write(b"<html>log in</html>")
        elif kind == "noise":
            self.wfile.write(draw.randbytes(5000))
        else:
            self._begin("multipart/x-mixed-replace; boundary=f")
            for index in range(FRAMES):
                self._part(index, kind, draw)

    def _begin(self, content: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content)
        self.end_headers()

    def _part(self, index: int, kind: str, draw: random.Random) -> None:
        data = picture(index, (200, 160) if kind == "size" and index >= 3 else SIZE)
        if kind == "damaged" and index >= 2:
            data = damaged(data, draw)
        if kind == "stall" and index == 3:
            self.server.ended.wait(20)
        if kind == "cut" and index == 3:
            self.wfile.write(
                b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: 90000\r\n\r\n" + data[: len(data) // 2]
            )
            return self.connection.shutdown(socket.SHUT_RDWR)
        self.wfile.write(b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n")
        time.sleep(0.01)
        return None


def picture(index: int, size: tuple[int, int]) -> bytes:
    """A JPEG that tells its number by its brightness."""
    return bytes(cv2.imencode(".jpg", np.full((size[1], size[0], 3), 20 + 30 * index, np.uint8))[1])


class Streams(Kind):
    """Whatever a camera does, a VideoError ends it; frames before that are the ones that were sent."""

    name, weight = "streams", 1
    KINDS = ("whole", "silent", "401", "404", "500", "204", "loop", "page", "noise", "size", "damaged", "stall", "cut")
    URLS = (
        "rtsp://{}/x",
        "http://{}/\udcff",
        "http://{}/\0",
        "http://[::1",
        "http://{}:99999/",
        "udp://127.0.0.1:1",
        "http://",
    )

    def attempt(self, draw: random.Random) -> str:
        server = _Server()
        server.kind, server.draw = draw.choice(self.KINDS), random.Random(draw.random())
        serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        serving.start()
        try:
            at = f"user:{SECRET}@127.0.0.1:{server.server_port}"
            url = f"http://{at}/x.mjpg" if draw.random() < 0.85 else draw.choice(self.URLS).format(at)
            return self._watch(url, server.kind)
        finally:
            server.ended.set()
            server.shutdown()
            server.server_close()
            serving.join()

    @staticmethod
    def _watch(url: str, kind: str) -> str:
        name = redact_url(url)
        assert SECRET not in name, f"the name shows the password: {name}"
        try:
            source = LiveSource(name, lambda: open_stream(url, WAIT, WAIT), 4 * WAIT, 2 * WAIT)
        except Exception as error:
            assert SECRET not in str(error), f"the message shows the password: {error}"
            raise
        with contextlib.closing(source):
            for count, frame in enumerate(source):
                assert frame.image.dtype == np.uint8 and frame.image.ndim == 3
                if kind != "damaged":
                    assert abs(float(frame.image.mean()) - 20 - 30 * frame.index) < 4, "another frame than was sent"
                if count > 3 * FRAMES:
                    raise AssertionError("more frames than were sent")
        return RIGHT
