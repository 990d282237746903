"""The race on the picture: for each budget what both have by then, and how often each has been right."""

from __future__ import annotations

from collections.abc import Sequence

from demos.play.canvas import Canvas, Color, Place
from demos.play.overlay import BAD, BARS, GOOD, PANEL, PAPER, PLAIN, SOFT, TEXT, enlarged
from demos.play.race import BUDGETS, DONE, GAN, PUVAE, Race, budget_name
from puvae_rt.video.frames import Pixels

_NAMES = {PUVAE: "PuVAE", GAN: "Defense-GAN"}
_SIDE, _ROW, _FIRST = 52, 74, 130  # of a picture, of a row, of the first column
_HEAD = 34  # above the panel: it takes the place of the bars and their heading


def draw_race(picture: Pixels, race: Race, classes: Sequence[str]) -> None:
    """Paints the race over the place of the bars."""
    canvas = Canvas.over(picture)
    x, y, width, height = BARS
    place: Place = (x, y - _HEAD, width, height + _HEAD)
    canvas.fill(place, PAPER)
    canvas.text("the same digit, the same time", (x, y - 12), 0.55, SOFT)
    budgets = [budget_name(each) for each in (*BUDGETS, None)]
    step = (width - _FIRST) // len(budgets)
    for column, budget in enumerate(budgets):
        title = "until done" if budget == DONE else f"{float(budget):g} ms"
        canvas.text(title, (x + _FIRST + column * step, y + 8), 0.45, SOFT)
    accuracy = race.accuracy()
    for row, racer in enumerate((PUVAE, GAN)):
        top = y + 18 + row * _ROW
        canvas.text(_NAMES[racer], (x, top + 24), 0.5, TEXT)
        canvas.text(_milliseconds(race, racer), (x, top + 46), 0.45, SOFT)
        for column, budget in enumerate(budgets):
            share = accuracy[racer][budget]
            _draw_cell(canvas, race, racer, budget, (x + _FIRST + column * step, top), classes, share)


def _draw_cell(
    canvas: Canvas,
    race: Race,
    racer: str,
    budget: str,
    at: tuple[int, int],
    classes: Sequence[str],
    share: float | None,
) -> None:
    """Image, label, and the running accuracy of one racer at one budget."""
    now, (x, y) = race.now, at
    canvas.fill((x, y, _SIDE, _SIDE), PANEL)
    if now is not None and (label := now.label(racer, budget)) is not None:
        image = now.gan[budget][1] if racer == GAN else now.purified
        if racer == PUVAE and budget != DONE and now.puvae_ms > float(budget):
            image = now.attacked
        canvas.image(enlarged(image, (_SIDE, _SIDE)), (x, y))
        color = _color(label, now.truth)
        name = classes[label][:4] if 0 <= label < len(classes) else "?"
        canvas.text(name, (x + _SIDE + 6, y + 22), 0.7, color, bold=True)
    canvas.text("-" if share is None else f"{100 * share:.0f}%", (x + _SIDE + 6, y + 46), 0.45, SOFT)


def _milliseconds(race: Race, racer: str) -> str:
    if race.now is None:
        return ""
    if racer == PUVAE:
        return f"{race.now.puvae_ms:.1f} ms"
    return f"{race.now.gan[DONE][2] / 1e3:.2f} s" if DONE in race.now.gan else "..."


def _color(label: int, truth: int | None) -> Color:
    if truth is None:
        return PLAIN
    return GOOD if label == truth else BAD
