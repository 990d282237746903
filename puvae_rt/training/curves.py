"""A training's curve as a picture."""

from __future__ import annotations

from pathlib import Path

from puvae_rt.pictures import panels, save_figure
from puvae_rt.training.loop import Metrics


def draw_curves(curve: list[Metrics], title: str, path: Path) -> None:
    """One panel for each metric against the step; PNG."""
    names = [name for name in curve[-1] if name != "step"]
    figure, axes = panels(1, len(names), (3 * len(names), 2.6))
    for panel, name in zip(axes[0], names, strict=True):
        panel.plot([point["step"] for point in curve], [point[name] for point in curve], linewidth=0.8)
        panel.set_title(name)
        panel.set_xlabel("step")
        if min(point[name] for point in curve) > 0 and name not in ("selected", "accuracy"):
            panel.set_yscale("log")
    figure.suptitle(title)
    save_figure(figure, path, dpi=100)
