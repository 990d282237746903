"""A training's curve as a picture."""

from __future__ import annotations

from pathlib import Path

from puvae_rt.training.loop import Metrics


def draw_curves(curve: list[Metrics], title: str, path: Path) -> None:
    """One panel for each metric against the step; PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in curve[-1] if name != "step"]
    figure, panels = plt.subplots(1, len(names), figsize=(3 * len(names), 2.6), squeeze=False)
    for panel, name in zip(panels[0], names, strict=True):
        panel.plot([point["step"] for point in curve], [point[name] for point in curve], linewidth=0.8)
        panel.set_title(name)
        panel.set_xlabel("step")
        if min(point[name] for point in curve) > 0 and name not in ("selected", "accuracy"):
            panel.set_yscale("log")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
