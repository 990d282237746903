"""Who may come in: the token, the session of who has shown it, the address that was asked for, the page that asks."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from puvae_rt.errors import ContractError
from puvae_rt.files import read_bytes

COOKIE = "puvae_session"
LEAST_TOKEN, MOST_TOKEN = 16, 512  # characters
SIGN_IN = "/signin"
OPEN_PATHS = ("/healthz", "/readyz", SIGN_IN)  # and the page's own files, in which nothing is secret
STATIC = "/static/"
MAKE_TOKEN = "python -c 'import secrets; print(secrets.token_urlsafe())' > FILE"
POLICY_VIOLATION = 1008
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def is_local(host: str) -> bool:
    """Whether an address is one that this machine alone can reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Doors:
    """What every request has to pass.

    Without a token, only the names of this machine may be asked for: a foreign site whose name leads here is refused.
    With one, everything but health and sign-in needs the token (`Authorization: Bearer`) or the cookie of a session.
    WebSockets and forms have to come from a page of the address that they ask.

    Args:
        local: whether this machine alone can reach the server.
        token: what a visitor has to know; None is nothing.
    """

    def __init__(self, local: bool, token: str | None) -> None:
        self.local, self._token = local, None if token is None else token.encode()
        self._session = secrets.token_urlsafe()

    @classmethod
    def opened(cls, host: str, token_file: Path | None) -> Doors:
        """ContractError where a token is needed and none is given, or the file holds none."""
        token = None if token_file is None else read_token(token_file)
        if token is None and not is_local(host):
            raise ContractError(
                f"--host {host}: other machines can reach it, expected --token-file FILE as well; make one by "
                f"`{MAKE_TOKEN}`"
            )
        return cls(is_local(host), token)

    @property
    def locked(self) -> bool:
        """Whether a token is needed."""
        return self._token is not None

    def fits(self, token: str) -> bool:
        """Whether this is the token; the time that it takes tells nothing."""
        return self._token is not None and hmac.compare_digest(token.encode(errors="replace"), self._token)

    def cookie(self, secure: bool) -> str:
        """The Set-Cookie header of a session."""
        return f"{COOKIE}={self._session}; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")

    def admits(self, asking: HTTPConnection) -> bool:
        """Whether a request may pass."""
        path = asking.url.path
        if not self.locked or path in OPEN_PATHS or path.startswith(STATIC):
            return True
        kind, _, token = asking.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.fits(token.strip())
        session = asking.cookies.get(COOKIE, "")
        return hmac.compare_digest(session.encode(errors="replace"), self._session.encode())

    def names_us(self, asking: HTTPConnection) -> bool:
        """Whether the address that was asked for is ours; with a token it may be any."""
        return self.locked or is_local(_host(f"//{asking.headers.get('host', '')}"))


def read_token(path: Path) -> str:
    """The token in a file, without the white space round it; ContractError for one that is short, long or not ASCII."""
    try:
        token = read_bytes(path, 2 * MOST_TOKEN).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise ContractError(
            f"--token-file {path}: not readable as a token ({error}); make one by `{MAKE_TOKEN}`"
        ) from error
    if not LEAST_TOKEN <= len(token) <= MOST_TOKEN or not token.isprintable() or " " in token:
        raise ContractError(
            f"--token-file {path}: got {len(token)} characters, expected {LEAST_TOKEN} to {MOST_TOKEN} without blanks; "
            f"make one by `{MAKE_TOKEN}`"
        )
    return token


def same_origin(asking: HTTPConnection) -> bool:
    """Whether a browser's page of the very address that it asks has sent this."""
    origin, host = asking.headers.get("origin", ""), asking.headers.get("host", "")
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and bool(rest) and rest.lower() == host.lower()


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class Guarded:
    """An application behind `Doors`, its answers with headers that keep other pages out."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asking, web_socket = HTTPConnection(scope), scope["type"] == "websocket"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        if refusal := self._refusal(asking, web_socket or scope["method"] == "POST"):
            if web_socket:
                await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal[1]})
            elif refusal[0] == 401 and asking.url.path == "/":
                await RedirectResponse(SIGN_IN, 303)(scope, receive, with_headers)
            else:
                await PlainTextResponse(refusal[1], refusal[0])(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _refusal(self, asking: HTTPConnection, changes: bool) -> tuple[int, str] | None:
        """Status and reason where a request may not pass; `changes`: it may do more than look."""
        if not self._doors.names_us(asking):
            return 421, "asked for by a name that is not this machine's; use localhost"
        if changes and not same_origin(asking):
            return 403, "expected a page of this very address to ask (Origin)"
        if not self._doors.admits(asking):
            return 401, "a token is needed: sign in, or send it as Authorization: Bearer"
        return None
