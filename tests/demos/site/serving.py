"""The server as `demos.web` runs it, in a thread of the tests."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from demos import web
from demos.play.stopping import Stop
from demos.site.messages import unpacked
from puvae_rt.cli.commands.demo_web import Options

SECONDS = 20  # for an answer, on a machine that is busy


class Halt(Stop):
    """Ends a run without a signal, which belongs to the main thread."""

    def __init__(self) -> None:
        super().__init__()
        self.now = threading.Event()

    def until_stopped(self, items: Any) -> Iterator[Any]:
        for item in items:
            if self.now.is_set():
                return
            yield item


@dataclass
class Site:
    """A server that runs."""

    url: str
    told: list[str]
    documents: list[dict[str, Any]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return self.url.rstrip("/")

    def socket(self, path: str, **options: Any) -> ClientConnection:
        """A WebSocket, as the page opens it."""
        url = self.origin.replace("http", "ws", 1) + path
        settings = {"origin": self.origin, "open_timeout": SECONDS, "compression": None} | options
        return connect(url, **settings)

    def frames(self, socket: ClientConnection, count: int) -> list[tuple[dict[str, Any], bytes]]:
        """The next messages with a frame, each answered as shown."""
        found = []
        while len(found) < count:
            document, jpeg = unpacked(socket.recv(SECONDS))
            socket.send("shown")
            found += [(document, jpeg)] if jpeg else []
        return found


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[Site]:
    """A server with `demos.web`'s options, on a free port."""
    halt, address, told = Halt(), queue.Queue(), list[str]()
    ended: list[Any] = []

    def note(line: str) -> None:
        told.append(line)
        if line.startswith("serving "):
            address.put(line.split()[1].rstrip(","))

    def run() -> None:
        try:
            ended.append(web.run(Options(port=0, **options), halt, note))
        except BaseException as error:
            ended.append(error)
            address.put("")

    thread = threading.Thread(target=run)
    thread.start()
    url = address.get(timeout=SECONDS)
    if not url:
        thread.join()
        raise ended[0]
    site = Site(url, told, ended)
    try:
        yield site
    finally:
        halt.now.set()
        thread.join(SECONDS)
    assert not thread.is_alive()
    if isinstance(ended[0], BaseException):
        raise ended[0]


def token_in(folder: Path, token: str = "correct-horse-battery") -> Path:
    """A file with a token."""
    path = folder / "token"
    path.write_text(f"{token}\n")
    return path
