"""The server without a browser: what it says, what it refuses, and that nobody slows another down."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus

from demos.play.synthetic import Samples, SyntheticClip
from demos.site.app import FILES
from demos.site.limits import IN_FLIGHT, MAX_MESSAGE, MAX_SIDE
from demos.site.messages import picture, unpacked
from tests.demos.site.serving import SECONDS, Site, serving


@pytest.fixture(scope="module")
def site(means_bundle: Path) -> Iterator[Site]:
    with serving(bundle=means_bundle, attack="fgsm", visitors=4) as found:
        yield found


@pytest.fixture(scope="module")
def jpeg(samples: Samples) -> bytes:
    """A card with a digit, as a browser sends it."""
    return picture(next(iter(SyntheticClip(samples, width=320, height=240))).image)


def get(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_the_page_comes_from_here_alone(site: Site) -> None:
    status, page, headers = get(site.url)
    assert status == 200 and "<h1>" in page
    assert headers["content-security-policy"].startswith("default-src 'none'")
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert get(site.origin + name)[0] == 200
    for file in FILES.iterdir():
        foreign = set(re.findall(r"https?://[\w.]+", file.read_text("utf-8"))) - {"http://www.w3.org"}
        assert not foreign, f"{file.name}: {foreign}"
    assert get(f"{site.origin}/static/../app.py")[0] == 404


def test_health_and_metrics(site: Site) -> None:
    with site.socket("/ws/stream") as viewer:
        site.frames(viewer, 2)
        assert get(f"{site.origin}/healthz")[:2] == (200, "healthy")
        assert get(f"{site.origin}/readyz")[:2] == (200, "ready")
        families = {each.name: each for each in text_string_to_metric_families(get(f"{site.origin}/metrics")[1])}
    named = {name for name in families if name.startswith("puvae_") and not name.endswith("_created")}
    assert len(named) >= 10
    assert families["puvae_frames"].samples[0].value >= 2
    assert families["puvae_viewer_frames_sent"].samples[0].value >= 2


def test_frames_come_with_what_was_made_of_them(site: Site) -> None:
    with site.socket("/ws/stream") as viewer:
        document, data = next(each for each in site.frames(viewer, 8) if each[0]["outcome"])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (480, 640, 3)
    outcome = document["outcome"]
    assert {"input", "attacked", "purified", "rmse", "chosen", "suspicion"} <= outcome.keys()
    assert len(outcome["rmse"]) == 10 and 0 <= document["truth"] < 10 and len(document["box"]) == 4
    assert document["age_ms"] > 0 and document["counts"]["frames"] > 0


def test_settings_reach_everybody(site: Site) -> None:
    with site.socket("/ws/stream") as one, site.socket("/ws/stream") as other:
        one.send('{"attack": "none", "epsilon": 0.2, "purify": false}')
        document = next(d for d, _ in site.frames(other, 40) if d["tuning"]["attack"] == "none" and d["outcome"])
        while document["outcome"] is None or document["outcome"]["attacked"]:
            document = site.frames(other, 1)[0][0]
        assert document["tuning"]["epsilon"] == 0.2 and document["outcome"]["reason"] == "purifier off"
        one.send('{"attack": "ifgsm", "epsilon": 0.3}')
        while document["outcome"] is None or not document["outcome"]["attacked"]:
            document = site.frames(other, 1)[0][0]


def test_a_pause_holds_the_stream(site: Site) -> None:
    with site.socket("/ws/stream") as viewer:
        site.frames(viewer, 1)  # frames come; where the pause is first, none does
        viewer.send('{"paused": true}')
        try:
            messages = list[bool]()
            while True:  # what was under way still comes
                try:
                    document, _ = unpacked(viewer.recv(SECONDS if True not in messages else 1))
                except TimeoutError:
                    break
                viewer.send("shown")
                messages.append(document["tuning"]["paused"])
            assert messages and messages[-1]
            assert get(f"{site.origin}/readyz")[0] == 200
        finally:
            viewer.send('{"paused": false}')  # for the tests behind this one
        site.frames(viewer, 2)


def test_who_shows_nothing_gets_no_more_and_holds_nobody_up(site: Site) -> None:
    with site.socket("/ws/stream") as slow, site.socket("/ws/stream") as quick:
        numbers = [document["counts"]["frames"] for document, _ in site.frames(quick, 12)]
        assert numbers == sorted(set(numbers))
        waiting = 0
        while True:
            try:
                slow.recv(0.5)
            except TimeoutError:
                break
            waiting += 1
        assert waiting <= 1 + IN_FLIGHT  # how the stream is, and two frames
        slow.send("shown")
        latest = unpacked(slow.recv(SECONDS))[0]
        assert latest["counts"]["frames"] >= numbers[-1]  # a new one: those between were skipped


def test_own_frames_are_answered_one_by_one(site: Site, jpeg: bytes) -> None:
    with site.socket("/ws/own") as own:
        own.send('{"attack": "none"}')
        for _ in range(3):
            own.send(jpeg)
            document, data = unpacked(own.recv(SECONDS))
            assert not data and document["outcome"]["attacked"] is None and document["ms"] > 0
        own.send('{"attack": "fgsm", "epsilon": 0.4}')
        own.send(jpeg)
        assert unpacked(own.recv(SECONDS))[0]["outcome"]["attacked"]
        own.send(picture(np.full((240, 320, 3), 128, np.uint8)))
        assert unpacked(own.recv(SECONDS))[0]["outcome"] is None


LARGE = picture(np.zeros((10, 10, 3), np.uint8)).replace(b"\0\x0a\0\x0a", (MAX_SIDE + 1).to_bytes(2, "big") * 2, 1)
HOSTILE = {
    "no picture": (b"hello", 1007),
    "nothing": (b"", 1007),
    "half a JPEG": (picture(np.zeros((90, 90, 3), np.uint8))[:-20], 1007),
    "a PNG": (bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1]), 1007),
    "sides too large": (LARGE, 1007),
    "too many bytes": (bytes(MAX_MESSAGE + 1), 1009),
    "no JSON": ("{", 1007),
    "unknown attack": ('{"attack": "cw"}', 1007),
    "epsilon out of range": ('{"epsilon": 7}', 1007),
    "not a number": ('{"epsilon": NaN}', 1007),
    "endless settings": (" " * 5000, 1007),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_malformed_closes_that_client_alone(site: Site, jpeg: bytes, name: str) -> None:
    message, code = HOSTILE[name]
    with site.socket("/ws/own") as good, site.socket("/ws/own") as bad:
        bad.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            bad.recv(SECONDS)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code
        good.send(jpeg)
        assert unpacked(good.recv(SECONDS))[0]["outcome"]


@pytest.mark.parametrize("message", ["{", b"\0\1", '{"attack": 3}'])
def test_the_stream_takes_settings_alone(site: Site, message: str | bytes) -> None:
    with site.socket("/ws/stream") as good, site.socket("/ws/stream") as bad:
        bad.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                bad.recv(SECONDS)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1007
        site.frames(good, 1)


def test_there_is_room_for_so_many(site: Site) -> None:
    with site.socket("/ws/own"), site.socket("/ws/own"), site.socket("/ws/stream"), site.socket("/ws/stream"):
        with site.socket("/ws/own") as late, pytest.raises(ConnectionClosed) as closed:
            late.recv(SECONDS)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "127.0.0.1"])
def test_sockets_are_for_pages_of_this_address(site: Site, origin: str | None) -> None:
    for path in ("/ws/stream", "/ws/own"):
        with pytest.raises(InvalidStatus) as refused, site.socket(path, origin=origin):
            pass
        assert refused.value.response.status_code == 403


def test_foreign_names_that_lead_here_are_refused(site: Site) -> None:
    port = site.origin.rpartition(":")[2]
    for name in (f"evil.example:{port}", "evil.example", "[", ""):
        assert get(site.url, Host=name)[0] in (400, 421)
    assert get(site.url, Host=f"localhost:{port}")[0] == 200


def test_the_document_counts_every_frame(means_bundle: Path) -> None:
    with serving(bundle=means_bundle) as site, site.socket("/ws/stream") as viewer:
        site.frames(viewer, 2)
    document = site.documents[0]
    assert document["frames"] > 0 and document["read"] >= document["frames"] + document["dropped"]
    assert document["error"] is None and document["source"] == "synthetic"
