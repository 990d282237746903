"""The pages and addresses of the server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from demos.site.doors import SIGN_IN, STATIC, Doors, Guarded
from demos.site.limits import MAX_FORM, SIGN_INS_A_SECOND, SIGN_INS_AT_ONCE, Bucket
from demos.site.meters import Meters
from demos.site.sockets import Sockets
from demos.site.stage import Stage

FILES = Path(__file__).parent / "static"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class SignIn:
    """The form that takes the token, and gives a session for it."""

    def __init__(self, doors: Doors, meters: Meters) -> None:
        self._doors, self._meters = doors, meters
        self._rate = Bucket(SIGN_INS_A_SECOND, SIGN_INS_AT_ONCE)

    async def page(self, _: Request) -> Response:
        """The form; where no token is needed, the way to the page."""
        return FileResponse(FILES / "signin.html") if self._doors.locked else RedirectResponse("/", 303)

    async def take(self, request: Request) -> Response:
        """The session's cookie for the right token, the form again for a wrong one."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM:
                return PlainTextResponse(f"expected at most {MAX_FORM} bytes", 413)
        if not self._rate.take():
            self._meters.refused("sign_ins")
            return PlainTextResponse("too many attempts; wait a few seconds", 429)
        token = parse_qs(body.decode("ascii", "replace")).get("token", [""])[0].strip()
        if not self._doors.fits(token):
            self._meters.refused("token")
            return RedirectResponse(f"{SIGN_IN}?wrong", 303)
        return RedirectResponse("/", 303, {"set-cookie": self._doors.cookie(request.url.scheme == "https")})


def application(stage: Stage, sockets: Sockets, doors: Doors, meters: Meters) -> ASGIApp:
    """The whole site, behind `doors`."""
    entrance = SignIn(doors, meters)

    async def page(_: Request) -> Response:
        return FileResponse(FILES / "index.html")

    async def about(_: Request) -> Response:
        return Response(msgspec.json.encode(stage.about()), media_type="application/json")

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy")

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready") if stage.ready else PlainTextResponse("not ready: no frames come", 503)

    async def metrics(_: Request) -> Response:
        return Response(meters.text(), headers={"content-type": METRICS_TYPE})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        stage.channel.open()
        yield
        stage.channel.close()

    routes = [
        Route("/", page),
        Route(SIGN_IN, entrance.page),
        Route(SIGN_IN, entrance.take, methods=["POST"]),
        Route("/about", about),
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/metrics", metrics),
        WebSocketRoute("/ws/stream", sockets.stream),
        WebSocketRoute("/ws/own", sockets.own),
        Mount(STATIC.rstrip("/"), StaticFiles(directory=FILES)),
    ]
    return Guarded(Starlette(routes=routes, lifespan=lifespan), doors)
