"""A window for frames in Tk, which comes with Python: the OpenCV that this package installs has no windows."""

from __future__ import annotations

import os
import sys

import cv2

from puvae_rt.errors import VideoError
from puvae_rt.video.frames import Pixels

CLOSING_KEYS = ("q", "<Escape>")


def has_display() -> bool:
    """Whether a window may be tried."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY"))


class Window:
    """Shows frames; VideoError when the display or Tk is missing. For the main thread only."""

    def __init__(self, title: str) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise VideoError(
                "window: Python's tkinter is missing (Debian, Ubuntu: apt-get install python3-tk)"
            ) from error
        self._tk = tkinter
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise VideoError(f"window: the display cannot be used ({error}); use --headless") from error
        self._root.title(title)
        self._picture = tkinter.PhotoImage(master=self._root)
        tkinter.Label(self._root, image=self._picture, borderwidth=0).pack()
        self.open = True
        self._pressed: list[str] = []
        self._root.bind("<Key>", lambda event: self._pressed.append(event.keysym))
        self._root.protocol("WM_DELETE_WINDOW", self._leave)
        for key in CLOSING_KEYS:
            self._root.bind(key, lambda _: self._leave())

    def show(self, image: Pixels) -> bool:
        """Draws BGR [H,W,3]; False once the user has closed the window (its button, q or Escape)."""
        height, width = image.shape[:2]
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        self._picture.configure(data=b"P6 %d %d 255\n" % (width, height) + rgb.tobytes(), format="ppm")
        self._root.update()
        return self.open

    def pressed(self) -> list[str]:
        """The keys that were pressed since the last call, by Tk's names; also keeps the window alive."""
        self._root.update()
        keys, self._pressed = self._pressed, []
        return keys

    def close(self) -> None:
        """Takes the window off the screen."""
        self._root.destroy()

    def _leave(self) -> None:
        self.open = False
