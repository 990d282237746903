"""Tables 5 and 6: time, and accuracy within a time budget, with the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from puvae_rt.evaluation import paper
from puvae_rt.evaluation.cells import ADV_TRAINING, BUDGET_DEFENSES, DEFENSE_GAN, DEPLOYED, PUVAE_PAPER
from puvae_rt.evaluation.labels import (
    NAMES,
    NOT_RUN,
    PAPER_NAMES,
    attack_name,
    markdown,
    notes,
    printed,
    settings,
)
from puvae_rt.evaluation.results import Row

BUDGETS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # seconds for the whole mini-batch
_ORDER = (ADV_TRAINING, *BUDGET_DEFENSES)


def time_table(rows: Sequence[Row]) -> str:
    """Seconds for a mini-batch, and how many times faster the deployed engine is; the paper's beside them."""
    body = []
    for dataset in dict.fromkeys([paper.TIMED, *(row["dataset"] for row in rows)]):
        times = {row["defense"]: row for row in rows if row["dataset"] == dataset}
        slow, fast = times.get(DEFENSE_GAN), times.get(DEPLOYED)
        ours = [f"{r['seconds']:.4g}" if r else NOT_RUN for r in (slow, fast)]
        ours.append(f"{slow['seconds'] / fast['seconds']:,.0f} x" if slow and fast else NOT_RUN)
        numbers = (paper.DEFENSE_GAN_SECONDS, paper.PUVAE_SECONDS, paper.SPEED_RATIO)
        theirs = [f"{numbers[0]:g}", f"{numbers[1]:g}", f"{numbers[2]:g} x"] if dataset == paper.TIMED else [""] * 3
        body.append([dataset, *(cell for pair in zip(ours, theirs, strict=True) for cell in pair)])
    head = ["dataset"]
    for ours_name, theirs_name in (
        (f"{NAMES[DEFENSE_GAN]}, s", f"{PAPER_NAMES[DEFENSE_GAN]}, s"),
        (f"{NAMES[DEPLOYED]}, s", f"{PAPER_NAMES[PUVAE_PAPER]}, s"),
        ("ratio", "paper's ratio"),
    ):
        head += [ours_name, theirs_name]
    lines = [f"{NAMES[r['defense']]}: {settings(r)}, batch {r['batch']}, {r['machine']}, {r['commit']}." for r in rows]
    lines.append(f"The paper's: {paper.CITATION}, Table 5, on {paper.MACHINE}.")
    return "\n\n".join([markdown(head, body), *lines]) + "\n"


def budget_table(rows: Sequence[Row]) -> str:
    """Accuracy within a time budget for the whole mini-batch; the paper's beside that of its budget."""
    theirs = {
        (
            *paper.BUDGET_CELL,
            attack_name(attack, targeted=True),
            DEPLOYED if defense == PUVAE_PAPER else defense,
        ): number
        for (attack, defense), number in paper.within_budget().items()
    }
    ours = {(r["dataset"], r["classifier"], attack_name(r["attack"], r["targeted"]), r["defense"]): r for r in rows}
    head, body = ["dataset", "classifier", "attack", "defense"], []
    for budget in BUDGETS:
        head += [f"{budget:g} s", *(["paper's, 1 s"] if budget == paper.BUDGET else [])]
    for key in sorted({**theirs, **ours}, key=lambda key: (key[:3], _ORDER.index(key[3]))):
        cells = []
        for budget in BUDGETS:
            cells.append(_within(ours.get(key), budget))
            cells += [printed(theirs.get(key))] if budget == paper.BUDGET else []
        body.append([*key[:3], NAMES[key[3]], *cells])
    note = (
        "A dash: no result yet. Seconds are for the whole mini-batch, all defenses on the same clock; a trained "
        "classifier has none to spend, and the accuracies of Table 2 at any budget. "
        f"The paper's: {paper.CITATION}, Table 6; beside its PuVAE stands our deployed engine."
    )
    return "\n\n".join([markdown(head, body), *notes(rows), note]) + "\n"


def _within(row: Row | None, seconds: float) -> str:
    """The accuracy in % of the last result that was there after so many seconds."""
    if row is None:
        return NOT_RUN
    reached = [point["accuracy"] for point in row["curve"] if point["seconds"] <= seconds]
    return f"{100 * reached[-1]:.1f}" if reached else "-"
