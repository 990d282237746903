from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from demos.play.window import Window, has_display
from puvae_rt.errors import VideoError


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A display that nobody looks at."""
    pytest.importorskip("tkinter", reason="Python without tkinter")
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb to draw into")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        monkeypatch.setenv("DISPLAY", f":{server.stdout.readline().strip()}")
        yield
        server.terminate()


@pytest.mark.usefixtures("display")
def test_a_window_shows_frames_until_it_is_closed() -> None:
    window = Window("title")
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    assert window.show(image) and window.show(image[::-1].copy())
    red, green, blue = window._picture.get(7, 0)
    assert [blue, green, red] == image[-1, 7].tolist()
    window._root.focus_force()
    window._root.update()
    for key in ("a", "plus", "space"):
        window._root.event_generate(f"<Key-{key}>")
    assert window.pressed() == ["a", "plus", "space"] and window.pressed() == []
    window._root.event_generate("<Key-q>")
    assert not window.show(image)
    window.close()


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert not has_display()
    monkeypatch.setenv("DISPLAY", ":97")
    assert has_display()
    with pytest.raises(VideoError, match="window: "):
        Window("title")
