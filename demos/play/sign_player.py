"""Runs frames of a road through the sign reader and shows them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from demos.play.sign_overlay import SignOverlay
from demos.play.sign_report import SignReport
from demos.play.sinks import Mp4Writer
from demos.play.window import Window
from puvae_rt.driving.locating import Locator
from puvae_rt.driving.reading import Reading, SignReader
from puvae_rt.driving.tracks import Track, Tracker
from puvae_rt.stream.ages import AgeMeter
from puvae_rt.video.frames import Frame


class SignPlayer:
    """One frame after the other: find the signs, read them in one batch, follow them, count, draw, write.

    Attributes:
        report: what was counted and timed so far.
    """

    def __init__(
        self,
        reader: SignReader,
        locate: Locator,
        overlay: SignOverlay,
        writer: Mp4Writer | None,
        window: Window | None,
        meter: AgeMeter,
    ) -> None:
        self.report, self._tracker = SignReport(meter), Tracker()
        self._reader, self._locate, self._overlay = reader, locate, overlay
        self._writer, self._window = writer, window

    def play(self, frames: Iterable[Frame]) -> None:
        """Plays `frames`, until they end or the user closes the window; VideoError where they break off."""
        for frame in frames:
            captured = time.monotonic() if frame.captured is None else frame.captured
            reading, tracks, find_ms = self._read(frame)
            age_ms = 1e3 * (time.monotonic() - captured) - reading.timings_ms.get("attack", 0.0)
            self.report.meter.add(age_ms, frame.clock)
            self.report.add(reading, tracks, find_ms)
            if not self._show(frame, reading, tracks):
                return

    def _read(self, frame: Frame) -> tuple[Reading, list[Track], float]:
        """What the signs say, their tracks, and the milliseconds that finding them took."""
        if self._locate.still(frame):
            self._tracker = Tracker()
        began = time.perf_counter()
        signs = self._locate(frame)
        find_ms = 1e3 * (time.perf_counter() - began)
        reading = self._reader(frame.image, signs)
        tracks = self._tracker([sign.box for sign in signs])
        for seen, track in zip(reading.signs, tracks, strict=True):
            track.vote(seen.purified)
        return reading, tracks, find_ms

    def _show(self, frame: Frame, reading: Reading, tracks: list[Track]) -> bool:
        """Draws and writes, where somebody looks; False once the user has closed the window."""
        if self._writer is None and self._window is None:
            return True
        signs = [(s, t, s.sign.label is not None or t.steady) for s, t in zip(reading.signs, tracks, strict=True)]
        picture = self._overlay.draw(frame.image, signs, self.report)
        if self._writer is not None:
            self._writer.write(picture)
        return self._window is None or self._window.show(picture)
