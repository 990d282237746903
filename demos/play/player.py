"""Runs frames through the defense and shows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from demos.play.controls import HELP, Controls
from demos.play.defense import Defense, Outcome
from demos.play.digits import Digit, find_digit
from demos.play.overlay import Overlay
from demos.play.race import Race
from demos.play.race_panel import draw_race
from demos.play.report import Report
from demos.play.sinks import Mp4Writer
from demos.play.window import Window
from puvae_rt.runtime.purifier import Stopwatch
from puvae_rt.stream.ages import AgeMeter
from puvae_rt.video.frames import Frame
from puvae_rt.video.sources import VideoSource

_PAUSE_SECONDS = 0.03  # between two looks at the keys
Watcher = Callable[[Frame, Outcome | None, float], None]  # a frame, what came of it, and its age in milliseconds


class Player:
    """One frame after the other: find the digit, attack it, purify it, draw, write, count.

    Attributes:
        report: what was counted and timed so far.
        digit: what was found on the latest frame.
    """

    def __init__(
        self,
        defense: Defense,
        overlay: Overlay,
        writer: Mp4Writer | None,
        window: Window | None,
        slo_ms: float | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.report = Report(meter=AgeMeter(slo_ms))
        self.digit: Digit | None = None
        self.controls: Controls | None = None
        self.race: Race | None = None
        self._watchers = list(watchers)
        self._defense, self._overlay, self._writer, self._window = defense, overlay, writer, window

    def play(self, frames: Iterable[Frame], source: VideoSource) -> None:
        """Plays `frames` of `source`, until they end or the user closes the window.

        Raises:
            VideoError: the source breaks off, or the video cannot be written.
        """
        for frame in frames:
            if not self._play(frame, source.dropped) or not self._obey():
                return

    def watch(self, watcher: Watcher) -> None:
        """Tells `watcher` of every frame from here on."""
        self._watchers.append(watcher)

    def _obey(self) -> bool:
        """Does what the keys say, and waits while it is paused; False once the user has closed the window."""
        while self.controls is not None and self._window is not None:
            for key in self._window.pressed():
                self.controls.press(key)
            if not self.controls.paused or not self._window.open:
                return self._window.open
            time.sleep(_PAUSE_SECONDS)
        return True

    def _play(self, frame: Frame, dropped: int) -> bool:
        clock, captured = Stopwatch(), time.monotonic() if frame.captured is None else frame.captured
        truth = frame.truth.label if frame.truth else None
        digit = self.digit = find_digit(frame.image)
        clock.lap("find")
        outcome = None if digit is None else self._defense(digit.image, truth, captured)
        clock.lap("defense")
        attack_ms = 0.0 if outcome is None else outcome.timings_ms["attack"]
        age_ms = 1e3 * (time.monotonic() - captured) - attack_ms
        self.report.meter.add(age_ms, frame.clock)
        self.report.add(outcome, truth)
        watched = self._show(frame, digit, outcome, dropped, clock)
        for watch in self._watchers:
            watch(frame, outcome, age_ms)
        if self.race is not None:
            self.race(frame, outcome, age_ms)
        if self.controls is not None:
            self.controls.see(frame, outcome, age_ms)
        laps = clock.timings_ms()
        defense = {} if outcome is None else outcome.timings_ms  # its stages in place of their sum
        self.report.time({"find": laps["find"], **defense, "draw": laps["draw"], "write": laps["write"]})
        return watched

    def _show(self, frame: Frame, digit: Digit | None, outcome: Outcome | None, dropped: int, clock: Stopwatch) -> bool:
        """Draws and writes, where somebody looks; False once the user has closed the window."""
        picture = None
        if self._writer is not None or self._window is not None:
            overlay = self._overlay
            if self.controls is not None:
                overlay = replace(overlay, title=self.controls.line(), subtitle=HELP)
            picture = overlay.draw(frame, digit, outcome, self.report, dropped)
            if self.race is not None:
                draw_race(picture, self.race, overlay.classes)
            if self.controls is not None:
                self.controls.take(picture)
        clock.lap("draw")
        if self._writer is not None and picture is not None:
            self._writer.write(picture)
        watched = self._window is None or picture is None or self._window.show(picture)
        clock.lap("write")
        return watched
