"""The picture of the driving demo: the road, and every sign with its name before and behind the purifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from demos.play.canvas import Canvas, Place
from demos.play.overlay import BAD, GOOD, PANEL, PAPER, PLAIN, SIZE, SOFT, TEXT
from demos.play.report import percent
from demos.play.sign_report import SignReport
from puvae_rt.contract import NO_LABEL
from puvae_rt.driving.reading import Seen
from puvae_rt.driving.tracks import Track
from puvae_rt.runtime.results import Floats
from puvae_rt.video.frames import Pixels

_VIEW: Place = (24, 64, 860, 540)
_LIST = (908, 76)
_ROWS, _CROP, _STEP = 6, 76, 96
_ACCURACY = (24, 652)


@dataclass(frozen=True)
class SignOverlay:
    """Draws pictures of `demos.play.overlay.SIZE`; `classes` are the names of the labels."""

    title: str
    subtitle: str
    classes: Sequence[str]

    def draw(self, image: Pixels, signs: Sequence[tuple[Seen, Track, bool]], report: SignReport) -> Pixels:
        """BGR [720,1280,3] of a frame, its signs with their tracks, and whether each is shown."""
        canvas = Canvas(SIZE, PAPER)
        canvas.text(self.title, (24, 42), 0.9, TEXT, bold=True)
        canvas.text(self.subtitle, (1256, 42), 0.6, SOFT, align="right")
        corner, scale = canvas.picture(image, _VIEW, PANEL)
        shown = [(seen, track) for seen, track, visible in signs if visible]
        for seen, track in shown:
            x, y, w, h = (round(scale * length) for length in seen.sign.box)
            place = corner[0] + x - 3, corner[1] + y - 3, w + 6, h + 6
            canvas.box(place, _color(track.label, seen.sign.label))
            canvas.text(f"{track.number}", (place[0], max(_VIEW[1] + 12, place[1] - 4)), 0.45, TEXT)
        for row, (seen, track) in enumerate(shown[:_ROWS]):
            self._draw_sign(canvas, _LIST[1] + _STEP * row, seen, track)
        if len(shown) > _ROWS:
            canvas.text(f"and {len(shown) - _ROWS} more", (_LIST[0], _LIST[1] + _STEP * _ROWS + 12), 0.5, SOFT)
        _draw_accuracy(canvas, report)
        return canvas.pixels

    def _draw_sign(self, canvas: Canvas, top: int, seen: Seen, track: Track) -> None:
        """Before and behind the purifier: picture and name."""
        x = _LIST[0]
        canvas.image(_enlarged(seen.before), (x, top))
        if seen.purified != NO_LABEL:
            canvas.image(_enlarged(seen.after), (x + _CROP + 8, top))
        left, truth = x + 2 * _CROP + 20, seen.sign.label
        before = seen.clean if seen.attacked is None else seen.attacked
        canvas.text(f"{track.number}{'  attack detected' if seen.alarm else ''}", (left, top + 12), 0.45, SOFT)
        for line, (told, label) in enumerate((("before", before), ("behind", seen.purified), ("track", track.label))):
            below = top + 34 + 20 * line
            canvas.text(told, (left, below), 0.4, SOFT)
            canvas.text(self._name(label)[:20], (left + 52, below), 0.45, _color(label, truth))

    def _name(self, label: int) -> str:
        return self.classes[label] if 0 <= label < len(self.classes) else "no answer"


def _enlarged(image: Floats) -> Pixels:
    """[3,H,W] RGB in [0,1] -> BGR [76,76,3], its pixels kept visible; [1,H,W] in gray."""
    levels = np.rint(255 * np.clip(image[::-1].transpose(1, 2, 0), 0, 1)).astype(np.uint8)
    large = cv2.resize(levels, (_CROP, _CROP), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large if large.ndim == 3 else cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), np.uint8)


def _color(label: int, truth: int | None) -> tuple[int, int, int]:
    if truth is None:
        return BAD if label == NO_LABEL else PLAIN
    return GOOD if label == truth else BAD


def _draw_accuracy(canvas: Canvas, report: SignReport) -> None:
    """Three numbers so far."""
    x, y = _ACCURACY
    colors = {"clean": TEXT, "attacked": BAD, "purified": GOOD}
    for place, (version, share) in enumerate(report.accuracy().items()):
        canvas.text(percent(share), (x + 220 * place, y + 12), 1.1, colors[version], bold=True)
        canvas.text(version, (x + 220 * place, y + 40), 0.5, SOFT)
    judged = f"of {report.judged} signs" if report.judged else "no ground truth"
    canvas.text(judged, (x + 660, y + 12), 0.55, SOFT)
