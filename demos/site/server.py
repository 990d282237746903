"""The HTTP server, in a thread of its own: the main one plays."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from demos.site.app import application
from demos.site.doors import Doors
from demos.site.limits import MAX_HEADERS, MAX_MESSAGE, MAX_SOCKETS_BESIDES
from demos.site.meters import Meters
from demos.site.own_frames import OwnFrames
from demos.site.sockets import Sockets
from demos.site.stage import Stage
from puvae_rt.errors import ContractError

_BACKLOG = 64
_START_SECONDS, _CLOSE_SECONDS = 10.0, 5.0
_PING_SECONDS = 10.0


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; ContractError where it cannot."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ContractError(f"--host {host}: got no address of this machine ({error}); give 127.0.0.1") from error
    with found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(place)
            found.listen(_BACKLOG)
        except OSError as error:
            raise ContractError(f"--host {host} --port {port}: cannot listen ({error}); give another --port") from error
        yield found


def check_tls(files: tuple[Path, Path] | None) -> None:
    """ContractError where --tls CERT KEY are no certificate and its key."""
    if files is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(*files, password=lambda: "")  # an encrypted key is refused, not asked about
    except (OSError, ValueError) as error:
        raise ContractError(
            f"--tls {files[0]} {files[1]}: got no certificate with its key ({error}), expected two PEM files, the key "
            "without a password"
        ) from error


class Server:
    """Serves within a `with` block.

    Args:
        place: a socket that listens.
        tls: certificate and key, for HTTPS; None is HTTP.
        stage, own, meters: what is served.
        doors: who may come in.
        visitors: browsers at once.
    """

    def __init__(
        self,
        place: socket.socket,
        tls: tuple[Path, Path] | None,
        stage: Stage,
        own: OwnFrames,
        doors: Doors,
        meters: Meters,
        visitors: int,
    ) -> None:
        self._place, self._secure = place, tls is not None
        config = uvicorn.Config(
            application(stage, Sockets(stage, own, meters, visitors), doors, meters),
            access_log=False,
            log_config=None,
            log_level="critical",
            loop="asyncio",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            ws_per_message_deflate=False,  # a small message could unpack to a large one
            h11_max_incomplete_event_size=MAX_HEADERS,
            limit_concurrency=visitors + MAX_SOCKETS_BESIDES,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            proxy_headers=False,
            server_header=False,
            ssl_certfile=None if tls is None else tls[0],
            ssl_keyfile=None if tls is None else tls[1],
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([place],), name="web server", daemon=True)

    @property
    def address(self) -> str:
        """The page's URL."""
        host, port = self._place.getsockname()[:2]
        return f"http{'s' if self._secure else ''}://{f'[{host}]' if ':' in host else host}:{port}/"

    def __enter__(self) -> Server:
        self._thread.start()
        end = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise ContractError(
                    f"{self.address}: the server did not start within {_START_SECONDS:g} s; give another --port"
                )
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)
