"""The picture of the demo: the camera's frame, the digit before and after, the distances, the latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from demos.play.canvas import Canvas, Place
from demos.play.defense import Outcome, Stage
from demos.play.digits import Digit
from demos.play.report import Report
from puvae_rt.runtime.latency import Summary
from puvae_rt.runtime.results import NO_LABEL, Floats
from puvae_rt.video.frames import Frame, Pixels

SIZE = (1280, 720)

# Colors, BGR.
PAPER, PANEL, _LINE = (28, 23, 20), (44, 37, 33), (78, 68, 62)
TEXT, SOFT = (240, 236, 232), (172, 162, 154)
GOOD, BAD, PLAIN = (120, 205, 110), (88, 96, 240), (226, 178, 96)

# Places: x, y, width, height.
_VIEW: Place = (24, 64, 640, 480)
_TILES: tuple[Place, ...] = tuple((688 + 196 * i, 96, 176, 176) for i in range(3))
BARS: Place = (688, 366, 568, 178)
_LATENCY: Place = (24, 572, 640, 132)
_ACCURACY: Place = (688, 572, 568, 132)
_STAGES = ("find", "attack", "purify", "classify", "draw", "write")
_SHOWN = ("p50", "p90", "p99")


@dataclass(frozen=True)
class Overlay:
    """Draws pictures of `SIZE`. `title` and `subtitle` head them; `classes` are the names of the labels."""

    title: str
    subtitle: str
    classes: Sequence[str]

    def draw(self, frame: Frame, digit: Digit | None, outcome: Outcome | None, report: Report, dropped: int) -> Pixels:
        """BGR [720,1280,3]. Without a digit the frame is shown as it is and the tiles stay empty."""
        canvas = Canvas(SIZE, PAPER)
        canvas.text(self.title, (24, 42), 0.9, TEXT, bold=True)
        canvas.text(self.subtitle, (1256, 42), 0.6, SOFT, align="right")
        self._draw_view(canvas, frame, digit, outcome)
        truth = frame.truth.label if frame.truth else None
        self._draw_tiles(canvas, outcome, truth)
        self._draw_bars(canvas, outcome)
        _draw_latency(canvas, report)
        _draw_accuracy(canvas, report, dropped)
        return canvas.pixels

    def _name(self, label: int) -> str:
        return self.classes[label] if 0 <= label < len(self.classes) else "?"

    def _draw_view(self, canvas: Canvas, frame: Frame, digit: Digit | None, outcome: Outcome | None) -> None:
        """The frame, letterboxed, with a box round the digit and what is read there before and after."""
        corner, scale = canvas.picture(frame.image, _VIEW, PANEL)
        if digit is None or outcome is None:
            canvas.tag("no digit found", (_VIEW[0] + 12, _VIEW[1] + 30), SOFT, PANEL)
            return
        x, y, w, h = (round(scale * length) for length in digit.box)
        left, top = corner[0] + x, corner[1] + y
        truth = frame.truth.label if frame.truth else None
        color = _color(outcome.purified.label, truth)
        if outcome.suspicion is not None:
            told = f"{'attack' if outcome.alarm else 'no attack'} detected, score {outcome.suspicion:.1f}"
            canvas.tag(told, (_VIEW[0] + 12, _VIEW[1] + _VIEW[3] - 16), PAPER, BAD if outcome.alarm else GOOD)
        margin = 8
        canvas.box((left - margin, top - margin, w + 2 * margin, h + 2 * margin), color)
        before = self._name((outcome.attacked or outcome.clean).label)
        tag = f"{before} -> {self._name(outcome.purified.label)}"
        canvas.tag(tag, (left - margin, max(_VIEW[1] + 24, top - margin - 6)), PAPER, color)

    def _draw_tiles(self, canvas: Canvas, outcome: Outcome | None, truth: int | None) -> None:
        stages = (None, None, None) if outcome is None else (outcome.clean, outcome.attacked, outcome.purified)
        captions = ("input", "attacked", "purified")
        for place, caption, stage in zip(_TILES, captions, stages, strict=True):
            instead = caption == "purified" and outcome is not None and bool(outcome.reason)
            told = f"{outcome.shown}: {outcome.reason}" if instead and outcome is not None else caption
            canvas.text(told, (place[0], place[1] - 12), 0.62, BAD if instead else SOFT)
            canvas.fill(place, PANEL)
            if stage is not None:
                self._draw_tile(canvas, place, stage, truth)
            elif outcome is not None:
                canvas.text("no attack", (place[0] + place[2] // 2, place[1] + 94), 0.6, SOFT, align="center")

    def _draw_tile(self, canvas: Canvas, place: Place, stage: Stage, truth: int | None) -> None:
        """The image, and under it the classifier's word with whether it is right."""
        x, y, width, height = place
        below = y + height + 44
        if stage.label == NO_LABEL:
            canvas.text("degraded", (x + width // 2, y + height // 2), 0.6, BAD, align="center")
        else:
            canvas.image(enlarged(stage.image, (width, height)), (x, y))
        color = _color(stage.label, truth)
        canvas.text("seen as", (x, below), 0.5, SOFT)
        canvas.text(self._name(stage.label)[:9], (x + 76, below), 1.2, color, bold=True)
        if truth is not None:
            verdict = "right" if stage.label == truth else "wrong"
            canvas.text(verdict, (x + width, below), 0.5, color, align="right")

    def _draw_bars(self, canvas: Canvas, outcome: Outcome | None) -> None:
        """The distance to the projection on each class; the one chosen, by the model's score, is the purified image."""
        x, y, width, height = BARS
        canvas.text("distance to each class's projection (RMSE), chosen in blue", (x, y - 10), 0.55, SOFT)
        canvas.fill(BARS, PANEL)
        if outcome is None or not np.isfinite(outcome.rmse).any():
            return
        rmse = outcome.rmse
        top, step = float(np.nanmax(rmse)), width / len(rmse)
        room = height - 56  # a line above for values, one below for names
        for index, value in enumerate(rmse):
            if not np.isfinite(value):
                continue
            tall = max(2, round(room * float(value) / max(top, 1e-6)))
            left, base = round(x + step * (index + 0.18)), y + height - 26
            color = PLAIN if index == outcome.chosen else _LINE
            canvas.fill((left, base - tall, max(1, round(step * 0.64)), tall), color)
            if step >= 28:
                middle = round(x + step * (index + 0.5))
                text = TEXT if index == outcome.chosen else SOFT
                canvas.text(self._name(index)[: int(step // 10)], (middle, base + 20), 0.55, text, align="center")
                canvas.text(f"{value:.2f}"[1:] if value < 1 else "1", (middle, base - tall - 6), 0.42, text, "center")


def enlarged(image: Floats, size: tuple[int, int]) -> Pixels:
    """[1,H,W] in [0,1] -> BGR of `size`, its pixels kept visible."""
    gray = np.round(255 * np.clip(image[0], 0, 1)).astype(np.uint8)
    large = cv2.resize(gray, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8)


def _color(label: int, truth: int | None) -> tuple[int, int, int]:
    if truth is None:
        return BAD if label == NO_LABEL else PLAIN
    return GOOD if label == truth else BAD


def _draw_latency(canvas: Canvas, report: Report) -> None:
    """Columns of stages, rows of percentiles, of the latest frames."""
    x, y, width, _ = _LATENCY
    canvas.text("latency, ms", (x, y), 0.55, SOFT)
    rows: dict[str, Summary] = report.stages_ms(recent=True)
    columns = [stage for stage in _STAGES if stage in rows]
    step = (width - 60) // (len(_STAGES) + 1)
    for index, stage in enumerate([*columns, "frame to label"]):
        last = stage not in rows
        right = x + width if last else x + 60 + step * (index + 1) - 24
        values = report.latency_ms(recent=True) if last else rows[stage]
        canvas.text(stage, (right, y + 30), 0.5, TEXT if last else SOFT, align="right")
        for row, percentile in enumerate(_SHOWN):
            value = values[percentile]
            text = "-" if value is None else f"{value:.1f}"
            canvas.text(text, (right, y + 58 + 26 * row), 0.58, TEXT if last else SOFT, align="right", bold=last)
    for row, percentile in enumerate(_SHOWN):
        canvas.text(percentile, (x, y + 58 + 26 * row), 0.5, SOFT)


def _draw_accuracy(canvas: Canvas, report: Report, dropped: int) -> None:
    """Three large numbers so far, or that there is no ground truth."""
    x, y, _, _ = _ACCURACY
    judged = f"of {report.judged} frames" if report.judged else "no ground truth"
    canvas.text(f"accuracy, {judged}", (x, y), 0.55, SOFT)
    colors = {"clean": TEXT, "attacked": BAD, "purified": GOOD}
    for place, (version, share) in zip(_TILES, report.accuracy().items(), strict=True):
        canvas.text(
            "-" if share is None else f"{100 * share:.1f}%", (place[0], y + 56), 1.3, colors[version], bold=True
        )
        canvas.text("without attack" if version == "clean" else version, (place[0], y + 84), 0.5, SOFT)
    counts = f"{report.fps():.0f} frames/s   {dropped} dropped   {report.without_digit} without a digit"
    canvas.text(f"{counts}   {report.degraded} degraded", (x, y + 112), 0.5, SOFT)
