"""How results are shown in tables and figures: names, numbers, notes, Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from puvae_rt.evaluation.cells import (
    ADV_TRAINING,
    BIT_DEPTH,
    DEFENSE_GAN,
    DEPLOYED,
    JPEG,
    MAGNET,
    MEDIAN,
    NONE,
    PGD_TRAINING,
    PRIOR_ONLY,
    PUVAE_OURS,
    PUVAE_PAPER,
    PUVAE_RMSE,
    REFINED,
    THRESHOLD,
)
from puvae_rt.evaluation.results import Row

NOT_RUN = "not run"
OUTDATED = "outdated"  # key of a row whose classifier has other weights today
MARK = "†"
OUTDATED_NOTE = f"{MARK} Measured against the classifier's former weights, before its large layer was made thin."
NAMES = {
    NONE: "no defense",
    THRESHOLD: "threshold",
    BIT_DEPTH: "bit depth",
    JPEG: "JPEG",
    MEDIAN: "median",
    ADV_TRAINING: "FGSM training",
    PGD_TRAINING: "PGD training",
    MAGNET: "MagNet",
    DEFENSE_GAN: "Defense-GAN",
    PUVAE_PAPER: "PuVAE (paper's recipe)",
    PUVAE_RMSE: "PuVAE (ours), without its prior",
    PRIOR_ONLY: "prior alone",
    PUVAE_OURS: "PuVAE (ours)",
    DEPLOYED: "PuVAE (ours), deployed engine",
    REFINED: "PuVAE (ours), refined",
}
PAPER_NAMES = {  # of the paper's columns
    NONE: "paper's no defense",
    ADV_TRAINING: "paper's adversarial training",
    MAGNET: "paper's MagNet",
    DEFENSE_GAN: "paper's Defense-GAN",
    PUVAE_PAPER: "paper's PuVAE",
}
SETTINGS = (
    *("level", "gray_bits", "color_bits", "quality", "window"),
    *("pgd_steps", "steps", "restarts", "rate", "spread", "sigma_eps", "tau", "kl_weight", "prior_weight", "shortlist"),
)  # that a note tells


def attack_name(attack: str, targeted: bool) -> str:
    """An attack's name in the tables."""
    if attack == NONE:
        return "none (clean)"
    return f"{attack} {'targeted' if targeted else 'untargeted'}"


def percent(row: Row | None) -> str:
    """A row's accuracy in %, marked when the row is outdated."""
    return NOT_RUN if row is None else f"{100 * row['accuracy']:.1f}{MARK if OUTDATED in row else ''}"


def interval(row: Row | None) -> str:
    """A row's accuracy in % with its 95% interval."""
    return percent(row) if row is None else f"{percent(row)} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"


def printed(number: float | None) -> str:
    """A number of the paper's, in % with its two decimals; empty where there is none."""
    return "" if number is None else f"{number:.2f}"


def notes(rows: Iterable[Row]) -> list[str]:
    """How each defense's numbers came about: images, settings, then the machines and the code of each."""
    places: dict[str, dict[str, dict[str, None]]] = {}
    for row in rows:
        how = f"{NAMES[row['defense']]}: {row['n']} images, seed {row['seed']}, {settings(row)}, {row['evidence']}"
        places.setdefault(how, {}).setdefault(row["machine"], {})[row["commit"]] = None
    lines = (
        f"- {how} on " + "; ".join(f"{machine} ({', '.join(commits)})" for machine, commits in found.items()) + "."
        for how, found in places.items()
    )
    return ["\n".join(lines)] if places else []


def settings(row: Row) -> str:
    """What a row was measured with, in words."""
    stored = row.get("settings", {})
    known = {name: stored[name] for name in SETTINGS if name in stored}
    if "schedule" in stored:
        known["epochs trained"] = stored["schedule"]["epochs"]
    return ", ".join(f"{name} {value:g}" for name, value in known.items()) or "no settings"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table; where the body is empty, a line that says so."""
    lines = [head, ["---"] * len(head), *(body or [[NOT_RUN] * len(head)])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
