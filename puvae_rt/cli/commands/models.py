"""List the models that ship: classes, size, accuracy clean and under the strongest stored attack.

Accuracy is that of the default classifier, alone and behind the purifier. The attacks (FGSM, I-FGSM, RAND+FGSM,
Carlini-Wagner) know the classifier and not the purifier; attacks that know both are stronger. "experimental" is what is
no defense: the purifier leaves under 80% of the classifier's clean accuracy, or under 40% stand the strongest attack.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from puvae_rt.cli.command import Outcome
from puvae_rt.runtime.catalog import CLEAN, ModelCard, shipped_models

_HEAD = ("model", "images", "classes", "MB", "clean", "attacked", "")


@dataclass(frozen=True)
class Options:
    """`puvae models` takes none."""


def run(options: Options) -> Outcome:
    """Read what is installed."""
    cards = shipped_models()
    rows = [_HEAD, *map(_row, cards)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", "clean, attacked: accuracy in % without -> with the purifier; attacked: under the strongest stored"]
    lines += ["attack that does not know the purifier. experimental: no defense (puvae models --help)"]
    return Outcome({"models": [_document(card) for card in cards]}, "\n".join(lines))


def _row(card: ModelCard) -> tuple[str, ...]:
    channels, height, width = card.shape
    clean = attacked = "not measured"
    if card.attacked is not None:
        strongest = min(share for name, share in card.undefended.items() if name != CLEAN)
        clean = f"{100 * card.undefended[CLEAN]:.1f} -> {100 * card.purified[CLEAN]:.1f}"
        attacked = f"{100 * strongest:.1f} -> {100 * card.attacked:.1f}"
    image = f"{height}x{width} {'gray' if channels == 1 else 'color'}"
    size = f"{card.bytes / 1e6:.1f}"
    return card.name, image, str(len(card.classes)), size, clean, attacked, "experimental" if card.experimental else ""


def _document(card: ModelCard) -> dict[str, object]:
    return asdict(card) | {"attacked": card.attacked, "experimental": card.experimental}
