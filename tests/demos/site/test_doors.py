"""Who may come in: tokens, sessions, certificates."""

from __future__ import annotations

import http.client
import logging
import shutil
import ssl
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from demos.site.doors import Doors
from demos.site.limits import Bucket
from puvae_rt.errors import ContractError
from tests.demos.site.serving import SECONDS, Site, serving, token_in

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def locked(means_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    file = token_in(tmp_path_factory.mktemp("door"), TOKEN)
    with serving(bundle=means_bundle, host="0.0.0.0", token_file=file) as found:
        found.url = found.url.replace("0.0.0.0", "127.0.0.1")
        yield found


def ask(site: Site, path: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, str, dict]:
    """Status, text and headers; nothing is followed."""
    asking = http.client.HTTPConnection(site.origin.partition("//")[2], timeout=SECONDS)
    try:
        asking.request(method, path, body, headers)
        answer = asking.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        asking.close()


def sign_in(site: Site, token: str, origin: str | None = None) -> tuple[int, str, dict]:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin or site.origin}
    return ask(site, "/signin", "POST", urllib.parse.urlencode({"token": token}), **form)


def test_other_machines_need_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.com"):
        with pytest.raises(ContractError, match="--token-file FILE"):
            Doors.opened(host, None)
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        assert not Doors.opened(host, None).locked


@pytest.mark.parametrize("token", ["", "short", "a" * 513, "with blanks in the middle", "ünïcode-token-of-length"])
def test_a_token_is_long_and_plain(tmp_path: Path, token: str) -> None:
    with pytest.raises(ContractError, match=r"--token-file .*make one"):
        Doors.opened("127.0.0.1", token_in(tmp_path, token))
    with pytest.raises(ContractError, match="not readable"):
        Doors.opened("127.0.0.1", tmp_path / "absent")


def test_nothing_is_shown_without_the_token(locked: Site) -> None:
    assert ask(locked, "/")[0] == 303 and ask(locked, "/")[2]["location"] == "/signin"
    for path in ("/about", "/metrics", "/index.html", "/nothing"):
        assert ask(locked, path)[0] == 401
    for path in ("/healthz", "/signin", "/static/style.css"):
        assert ask(locked, path)[0] == 200
    for path in ("/ws/stream", "/ws/own"):
        with pytest.raises(InvalidStatus), locked.socket(path):
            pass
    assert any("without --tls" in line for line in locked.told)


def test_programs_show_the_token_itself(locked: Site) -> None:
    assert ask(locked, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", f"Bearer {TOKEN[:-1]}\u00e9"):
        assert ask(locked, "/metrics", Authorization=wrong)[0] == 401
    with locked.socket("/ws/stream", additional_headers={"Authorization": f"Bearer {TOKEN}"}) as viewer:
        locked.frames(viewer, 1)


def test_a_browser_signs_in(locked: Site) -> None:
    status, _, headers = sign_in(locked, "wrong-wrong-wrong-wrong")
    assert status == 303 and headers["location"] == "/signin?wrong" and "set-cookie" not in headers
    assert sign_in(locked, TOKEN, origin="http://evil.example")[0] == 403
    status, _, headers = sign_in(locked, TOKEN)
    assert status == 303 and headers["location"] == "/"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    session = cookie.partition(";")[0]
    assert ask(locked, "/about", Cookie=session)[0] == 200
    assert ask(locked, "/about", Cookie=f"{session}x")[0] == 401
    with locked.socket("/ws/stream", additional_headers={"Cookie": session}) as viewer:
        locked.frames(viewer, 1)


def test_guessing_is_slow_and_forms_are_small(locked: Site) -> None:
    assert ask(locked, "/signin", "POST", "x" * 9000, Origin=locked.origin)[0] == 413
    assert 429 in [sign_in(locked, "guess-guess-guess-guess")[0] for _ in range(25)]


def test_the_token_is_told_to_nobody(
    means_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(bundle=means_bundle, token_file=token_in(tmp_path, TOKEN)) as site:
        sign_in(site, TOKEN)
        ask(site, f"/metrics?token={TOKEN}", Authorization=f"Bearer {TOKEN}")
    out, err = capfd.readouterr()
    for text in (caplog.text, out, err, *site.told, str(site.documents)):
        assert TOKEN not in text


def test_a_rate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("demos.site.limits.time.monotonic", lambda: now[0])
    bucket = Bucket(rate=2, size=3)
    assert [bucket.delay() for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    now[0] += 10
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    now[0] += 0.5
    assert bucket.take()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine's, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (Debian: apt-get install openssl)")
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(["openssl", *made, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_https(means_bundle: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with serving(bundle=means_bundle, tls=(cert, key), token_file=token_in(tmp_path, TOKEN)) as site:
        assert site.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with site.socket("/ws/stream", ssl=context, additional_headers=headers) as viewer:
            site.frames(viewer, 1)


def test_what_is_no_certificate(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    for pair in ((key, cert), (cert, cert), (tmp_path / "absent", key)):
        with pytest.raises(ContractError, match="--tls"), serving(tls=pair):
            pass
    token = token_in(tmp_path)
    with pytest.raises(ContractError, match="--host"), serving(host="no.such.host.invalid", token_file=token):
        pass
