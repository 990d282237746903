"""Addresses of streams, and how they may be shown."""

from __future__ import annotations

import re

SYNTHETIC = "synthetic"  # a source that is no URL, file or camera
GSTREAMER = "gstreamer"  # the scheme of a pipeline
SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt")

_HIDDEN = "***"
# The slashes may be missing by mistake, and the scheme, too: what stands before the @ is a secret all the same.
_URL = re.compile(rf"((?:[A-Za-z][A-Za-z0-9+.-]*://)|(?:(?:{'|'.join(SCHEMES)}):/*))(.*)", re.DOTALL | re.IGNORECASE)
_BARE = re.compile(r"[^/?#@\s]{2,}:[^@]*@")  # one letter is a drive


def redact_url(url: str) -> str:
    """`url` for messages, logs and reports: rtsp://***@camera:554/live?token=***.

    Hidden are the user's name (it may be a token) and password, all values of the query, of the fragment and of
    `name=value` in the path, and the key of an RTMP stream. A password may hold `/`, `?` or `@`: where a `:` or `@`
    stands before the first `/`, everything up to the last @ is hidden. Of a gstreamer:// pipeline only the elements are
    shown. What is no URL comes back as it is.
    """
    if url[: len(GSTREAMER) + 3].lower() == f"{GSTREAMER}://":
        return _redact_pipeline(url)
    match = _URL.fullmatch(url)
    if match is None and _BARE.match(url) is None:
        return url
    scheme, rest = match.groups() if match else ("", url)
    first = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user = ""
    in_query = False
    if "@" in rest and ("@" in first or ":" in first):
        secret, _, rest = rest.rpartition("@")
        user, in_query = f"{_HIDDEN}@", "?" in secret or "#" in secret
    at = 0 if in_query else next((i for i, letter in enumerate(rest) if letter in "?#"), len(rest))
    path = re.sub(r"=[^/;&,]*", f"={_HIDDEN}", rest[:at])
    if scheme.lower().startswith("rtmp"):
        path = re.sub(r"^([^/]*/[^/]*/).+", rf"\1{_HIDDEN}", path)  # the last part is the stream's key
    return f"{scheme}{user}{path}{_redact_query(rest[at:])}"


def _redact_pipeline(url: str) -> str:
    """The elements of a pipeline: any property may hold an address or a password, so all their values are hidden."""
    scheme, _, pipeline = url.partition("://")
    elements = (re.match(r"\s*([A-Za-z0-9_-]*)", part) for part in pipeline.split("!"))
    return f"{scheme}://" + " ! ".join(match.group(1) or _HIDDEN for match in elements if match)


def _redact_query(query: str) -> str:
    """?a=1&b=2#c -> ?a=***&b=***; names without a value may be secrets themselves."""
    if not query:
        return ""
    mark = query[0] if query[0] in "?#" else ""
    fields = re.split(r"[&;]", query[len(mark) :])
    shown = [f"{field.partition('=')[0]}={_HIDDEN}" if "=" in field else _HIDDEN for field in fields if field]
    return mark + "&".join(shown)
