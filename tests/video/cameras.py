"""Network cameras on this machine that fail as real ones do: each connection plays the next script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from tests.video.clips import SIZE

Step = bytes | str
STALL, GAP = "stall", 0.01


def jpeg(level: int, size: tuple[int, int] = SIZE) -> bytes:
    """A picture that tells its number by its brightness."""
    return bytes(cv2.imencode(".jpg", np.full((size[1], size[0], 3), level, np.uint8))[1])


def part(data: bytes, length: int | None = None) -> bytes:
    """A part of the stream; `length` is what it announces."""
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % (len(data) if length is None else length) + data + b"\r\n"


@dataclass
class Server:
    """A camera's address, and how often somebody came."""

    url: str
    visits: list[float] = field(default_factory=list)


@contextmanager
def camera(*scripts: Sequence[Step], answer: int = 200) -> Iterator[Server]:
    """A server whose connection number n plays script n, and later ones the last; then it closes the connection."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = scripts[min(len(server.visits), len(scripts) - 1)]
            server.visits.append(time.monotonic())
            self.send_response(answer)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for step in script:
                if step == STALL:
                    over.wait(30)
                    return
                self.wfile.write(step)
                self.wfile.flush()
                over.wait(GAP)

        def log_message(self, *_: object) -> None:
            pass

    with quiet_server(Handler) as port:
        server = Server(f"http://127.0.0.1:{port}/live.mjpg")
        try:
            yield server
        finally:
            over.set()


@contextmanager
def quiet_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Its port; a client that goes away is what is wanted here."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Quiet(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield http.server_port
        http.shutdown()


def until(happened: Callable[[], bool], seconds: float = 20) -> None:
    """Waits; AssertionError when it does not happen."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.01)
