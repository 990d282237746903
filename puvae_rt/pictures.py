"""Figures by Matplotlib, without pyplot's global state, stored as small palette PNGs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puvae_rt.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = 64  # of the palette; a plot or a sheet of small pictures shows no difference, at a third of the bytes


def panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure of `size` (width, height) inches and its axes [rows, columns].

    Raises:
        ModuleNotFoundError: Matplotlib is not installed (extra `train`).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="tight")
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Writes `figure` to `path` as a PNG of `COLORS` colors, whole or not at all; its folder is made.

    Raises:
        FileError: it cannot be written.
    """
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi, format="png")
    drawn.seek(0)
    palette = Image.open(drawn).convert("RGB").quantize(COLORS)
    with atomic_file(path) as part:
        palette.save(part, "PNG", optimize=True)
