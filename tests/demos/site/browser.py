"""Chromium without a window, with a camera that plays a file; Debian's packages chromium and chromium-driver."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--ignore-certificate-errors"),
)


@contextlib.contextmanager
def chromium(
    folder: Path, camera: Path | None = None, size: tuple[int, int] = (1280, 900), resolve: str | None = None
) -> Iterator[Any]:
    """A browser under Selenium; skips the test where it is absent.

    `camera` is an .mjpeg or .y4m file, `resolve` a name that stands for this machine.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra [dev]")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = [f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    if camera is not None:
        profile.append(f"--use-file-for-fake-video-capture={camera}")
    if resolve is not None:
        profile.append(f"--host-resolver-rules=MAP {resolve} 127.0.0.1")
    for switch in (*SWITCHES, *profile):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()
