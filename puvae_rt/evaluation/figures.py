"""Figures 4 and 5 and the adaptive curves, as PNG from the stored results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from puvae_rt.evaluation.cells import ADAPTIVE_DEFENSES, NONE, WORST
from puvae_rt.evaluation.labels import NAMES, attack_name
from puvae_rt.evaluation.results import ADAPTIVE_FILE, BUDGET_FILE, DEFENSE_FILE, IDENTITY, SIGMA_FILE, Row, read_rows
from puvae_rt.pictures import panels, save_figure

DPI = 120


def write_figures(results: Path) -> list[Path]:
    """Draws every figure that there are results for. Raises ResultsError."""
    clean = [row for row in read_rows(results / DEFENSE_FILE) if row["attack"] == NONE]
    jobs: tuple[tuple[str, list[Row], Callable[[Sequence[Row]], Any]], ...] = (
        ("figure4_sigma.png", read_rows(results / SIGMA_FILE), draw_sigma),
        ("figure5.png", read_rows(results / BUDGET_FILE), draw_budgets),
        ("adaptive.png", read_rows(results / ADAPTIVE_FILE), lambda rows: draw_adaptive(rows, clean)),
    )
    written = []
    for file, rows, draw in jobs:
        if rows:
            save_figure(draw(rows), results / file, DPI)
            written.append(results / file)
    return written


def draw_sigma(rows: Sequence[Row]) -> Any:
    """Attacked images above their purified ones: a column for each cell, a row for each sigma_eps."""
    from puvae_rt.evaluation.sigma import decode

    columns = _groups(rows, IDENTITY)
    sigmas = sorted({row["sigma_eps"] for row in rows})
    size = (4 * len(columns), 1.45 * len(sigmas))
    figure, axes = panels(len(sigmas), len(columns), size)
    for panel in axes.flat:
        panel.axis("off")
    for place, (key, members) in enumerate(columns.items()):
        dataset, classifier, attack, targeted, _, defense = key
        cell = f"{dataset} {classifier} {attack_name(attack, targeted)}, {NAMES[defense]}\n"
        for row in members:
            panel = axes[sigmas.index(row["sigma_eps"]), place]
            panel.imshow(decode(row["pictures"]))
            head = cell if row["sigma_eps"] == sigmas[0] else ""
            panel.set_title(f"{head}sigma_eps {row['sigma_eps']:g}: {100 * row['accuracy']:.1f}%", fontsize=8)
    return figure


def draw_budgets(rows: Sequence[Row]) -> Any:
    """Accuracy against the seconds spent on a mini-batch, a panel for each attack."""
    groups = _groups(rows, ("dataset", "classifier", "attack", "targeted"))
    figure, axes = panels(1, len(groups), (4.5 * len(groups), 3.4))
    last = max(row["seconds"] for row in rows)
    for panel, (key, members) in zip(axes[0], groups.items(), strict=True):
        for row in members:
            x, y = ([point[k] for point in row["curve"]] for k in ("seconds", "accuracy"))
            panel.step([*x, last], [100 * v for v in (*y, y[-1])], where="post", label=NAMES[row["defense"]])
            panel.plot(x[:1], [100 * y[0]], "o", markersize=3, color=panel.lines[-1].get_color())
        panel.set(xscale="log", xlabel=f"seconds for {members[0]['n']} images", ylabel="accuracy, %", ylim=(0, 101))
        panel.set_title(" ".join(map(str, key[:3])) + (" targeted" if key[3] else ""), fontsize=9)
        panel.legend(fontsize=7)
    return figure


def draw_adaptive(rows: Sequence[Row], clean: Sequence[Row]) -> Any:
    """Robust accuracy against epsilon: dotted for one attack, solid for the worst of all."""
    groups = _groups(rows, ("dataset", "classifier"))
    figure, axes = panels(1, len(groups), (5 * len(groups), 3.6))
    for panel, ((dataset, classifier), members) in zip(axes[0], groups.items(), strict=True):
        undisturbed = {
            r["defense"]: r["accuracy"] for r in clean if (r["dataset"], r["classifier"]) == (dataset, classifier)
        }
        undisturbed |= {r["defense"]: r["accuracy"] for r in members if r["attack"] == NONE}  # of the same images
        attacked = [row for row in members if row["attack"] != NONE]
        for (defense, attack), curve in _groups(attacked, ("defense", "attack")).items():
            points = sorted((row["epsilon"], row["accuracy"]) for row in curve)
            if defense in undisturbed:
                points.insert(0, (0.0, undisturbed[defense]))
            label, style = (NAMES[defense], "-") if attack == WORST else (None, ":")
            color = f"C{ADAPTIVE_DEFENSES.index(defense)}"
            measured = zip(*((e, 100 * a) for e, a in points), strict=True)
            panel.plot(*measured, style, marker="o", markersize=3, color=color, label=label)
        panel.set(xlabel="epsilon", ylabel="robust accuracy, %", ylim=(0, 101), title=f"{dataset} {classifier}")
        panel.legend(fontsize=7)
    return figure


def _groups(rows: Iterable[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found
