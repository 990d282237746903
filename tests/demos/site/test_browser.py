"""The page in a real browser, with a camera that plays a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from demos.play.synthetic import Samples, SyntheticClip
from demos.site.messages import picture
from tests.demos.site.browser import chromium
from tests.demos.site.serving import SECONDS, Site, serving, token_in
from tests.demos.site.test_doors import TOKEN, certificate

WAIT = 3 * SECONDS  # a browser's start included
NUMBER = "return parseFloat(document.querySelector('#ages dd').textContent)"


@pytest.fixture(scope="module")
def camera(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera sees: cards with digits."""
    path = tmp_path_factory.mktemp("camera") / "cards.mjpeg"
    path.write_bytes(b"".join(picture(f.image) for f in SyntheticClip(samples, frames=30, hold=15, seed=3)))
    return path


@pytest.fixture(scope="module")
def browser(camera: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("browser"), camera) as found:
        yield found


@pytest.fixture(scope="module")
def site(means_bundle: Path) -> Iterator[Site]:
    with serving(bundle=means_bundle, attack="fgsm", rate=5.0) as found:
        yield found


def until(condition: Callable[[], Any]) -> Any:
    """The first true value."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing within {WAIT} s")


def text(browser: Any, selector: str) -> str:
    return browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)


def choose(browser: Any, name: str, value: str) -> None:
    browser.execute_script(f"document.querySelector('input[name={name}][value={value}]').click()")


def complaints(browser: Any) -> list[str]:
    """Errors of the page, refused resources among them."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def painted(browser: Any, selector: str) -> bool:
    """Whether a canvas shows more than one color."""
    script = """const c = document.querySelector(arguments[0]);
    return new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size > 1"""
    return browser.execute_script(script, selector)


def test_the_stream_and_its_controls(site: Site, browser: Any) -> None:
    browser.get(site.url)
    until(lambda: text(browser, "#state-text") == "Live: synthetic")
    until(lambda: "attack" in text(browser, "#verdict"))
    assert all(painted(browser, f"#{each} canvas") for each in ("tile-input", "tile-attacked", "tile-purified"))
    assert painted(browser, "#view") and painted(browser, "#age")
    assert text(browser, "#tile-input em") in ("✓ right", "✗ wrong")
    assert "10 of 10 classes decoded" in text(browser, "#decoded")
    assert "--detector" in text(browser, "#score")
    choose(browser, "attack", "none")
    until(lambda: "attack" not in text(browser, "#verdict") and not painted(browser, "#tile-attacked canvas"))
    browser.execute_script("document.getElementById('purify').click()")
    until(lambda: "purifier off" in text(browser, "#verdict"))
    browser.execute_script("document.getElementById('purify').click(); document.getElementById('pause').click()")
    until(lambda: text(browser, "#state-text") == "Paused")
    assert text(browser, "#pause") == "Go on"
    browser.execute_script("document.getElementById('pause').click()")
    until(lambda: text(browser, "#state-text") == "Live: synthetic")
    assert not complaints(browser)


def test_the_browsers_own_camera(site: Site, browser: Any) -> None:
    browser.get(site.url)
    choose(browser, "from", "camera")
    until(lambda: text(browser, "#state-text") == "Your camera")
    until(lambda: "Read as" in text(browser, "#verdict") or "attack" in text(browser, "#verdict"))
    assert browser.execute_script(NUMBER) > 0
    assert text(browser, "#tile-input em") == "" and painted(browser, "#view")
    choose(browser, "attack", "ifgsm")
    until(lambda: painted(browser, "#tile-attacked canvas"))
    assert site.documents == []  # the server runs
    assert not complaints(browser)


@pytest.mark.long
def test_a_picture_of_ones_own(site: Site, browser: Any, samples: Samples, tmp_path: Path) -> None:
    card = cv2.resize(next(iter(SyntheticClip(samples))).image, (1600, 1200))
    path = tmp_path / "card.png"
    cv2.imwrite(str(path), card)
    browser.get(site.url)
    choose(browser, "from", "still")
    until(lambda: "Drop a picture" in text(browser, "#empty"))
    browser.find_element("id", "file").send_keys(str(path))
    until(lambda: text(browser, "#state-text") == "Your picture")
    assert painted(browser, "#tile-purified canvas")
    assert browser.execute_script("return document.getElementById('view').width") == 640
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    browser.find_element("id", "file").send_keys(str(bad))
    until(lambda: "no picture" in text(browser, "#notice"))


def test_the_keyboard_reaches_everything(site: Site, browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    browser.get(site.url)
    until(lambda: text(browser, "#state-text") == "Live: synthetic")
    choose(browser, "attack", "none")
    reached = []
    for _ in range(12):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        script = "const e = document.activeElement; return e.id || e.name || e.className"
        reached.append(browser.execute_script(script))
    assert {"skip", "from", "attack", "epsilon", "purify", "announce", "pause"} <= set(reached)
    browser.execute_script("document.querySelector('input[name=attack]:checked').focus()")
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    until(lambda: "attack" in text(browser, "#verdict"))
    browser.execute_script("document.getElementById('announce').click()")
    until(lambda: text(browser, "#live"))
    unnamed = """return [...document.querySelectorAll('input, button, canvas:not([aria-hidden] *)')].filter(e =>
      !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent && !e.hasAttribute('aria-hidden')).length"""
    assert browser.execute_script(unnamed) == 0


@pytest.mark.long
def test_a_page_that_stands_still_is_sent_two_frames(site: Site, browser: Any) -> None:
    """A page busy for seconds shows the newest frame afterwards, not those that it slept through."""
    browser.get(site.url)
    until(lambda: text(browser, "#state-text") == "Live: synthetic")
    seen = "return parseInt(document.getElementById('counts').textContent)"
    until(lambda: browser.execute_script(seen) > 0)
    before = browser.execute_script(seen)
    browser.execute_script("const end = performance.now() + 4000; while (performance.now() < end);")
    with site.socket("/ws/stream") as other:
        newest = site.frames(other, 1)[0][0]["counts"]["frames"]
    until(lambda: browser.execute_script(seen) >= newest)
    assert newest > before


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out(site: Site, browser: Any, width: int, scheme: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        browser.get(site.url)
        until(lambda: text(browser, "#state-text") == "Live: synthetic")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        color = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (np.mean([int(each) for each in color[4:-1].split(",")]) < 128) == (scheme == "dark")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.long
def test_sign_in_over_https_with_a_camera(means_bundle: Path, camera: Path, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    options = {"host": "0.0.0.0", "tls": files, "token_file": token_in(tmp_path, TOKEN), "bundle": means_bundle}
    with serving(**options) as site, chromium(tmp_path, camera) as browser:
        browser.get(site.url.replace("0.0.0.0", "127.0.0.1"))
        until(lambda: browser.title.startswith("Sign in"))
        for token in ("wrong-wrong-wrong-wrong", TOKEN):
            browser.find_element("id", "token").send_keys(token)
            browser.find_element("css selector", "button").click()
        until(lambda: text(browser, "#state-text").startswith("Live"))
        choose(browser, "from", "camera")
        until(lambda: text(browser, "#state-text") == "Your camera")
        assert TOKEN not in browser.current_url and TOKEN not in browser.page_source


@pytest.mark.long
def test_without_https_the_page_says_why_there_is_no_camera(means_bundle: Path, camera: Path, tmp_path: Path) -> None:
    options = {"host": "0.0.0.0", "token_file": token_in(tmp_path, TOKEN), "bundle": means_bundle}
    with serving(**options) as site, chromium(tmp_path, camera, resolve="camera.test") as browser:
        browser.get(site.url.replace("0.0.0.0", "camera.test"))
        browser.find_element("id", "token").send_keys(TOKEN)
        browser.find_element("css selector", "button").click()
        until(lambda: text(browser, "#state-text").startswith("Live"))
        choose(browser, "from", "camera")
        until(lambda: "--tls CERT KEY" in text(browser, "#notice"))
