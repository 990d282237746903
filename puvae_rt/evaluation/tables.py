"""Markdown tables from the stored results: Tables 2 to 6 of the paper, with its own numbers beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from puvae_rt.attacks.radii import COLOUR, GRAY
from puvae_rt.evaluation import paper
from puvae_rt.evaluation.cells import (
    ADAPTIVE_ATTACKS,
    ADAPTIVE_DEFENSES,
    ATTACKS,
    BUDGET_DEFENSES,
    DEFENSE_GAN,
    DEFENSES,
    DEPLOYED,
    NONE,
    PUVAE_OURS,
    WORST,
    epsilon_of,
)
from puvae_rt.evaluation.results import ADAPTIVE_FILE, BUDGET_FILE, DEFENSE_FILE, TIMING_FILE, Row, read_rows
from puvae_rt.files import write_text

NOT_RUN = "not run"
BUDGETS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # seconds for the whole mini-batch
NAMES = {
    NONE: "no defense",
    "adv_training": "adversarial training",
    "magnet": "MagNet",
    DEFENSE_GAN: "Defense-GAN",
    "puvae_paper": "PuVAE (paper's recipe)",
    "puvae_ours": "PuVAE (ours)",
    DEPLOYED: "PuVAE (ours), deployed engine",
    "puvae_refined": "PuVAE (ours), refined",
}


class Table(NamedTuple):
    """One of Tables 2 to 4, or one like them for a dataset that the paper does not have."""

    file: str
    title: str
    dataset: str
    classifiers: tuple[str, ...]
    epsilon: float


TABLES = (
    Table("table2.md", "Table 2: MNIST", "mnist", ("A", "B"), GRAY.epsilon),
    Table("table3.md", "Table 3: Fashion-MNIST", "fashion_mnist", ("A", "B"), GRAY.epsilon),
    Table("table4.md", "Table 4: CIFAR-10", "cifar10", ("A", "C", "D"), COLOUR.epsilon),
    Table("traffic_signs.md", "Traffic signs (GTSRB)", "traffic_signs", ("A", "B"), COLOUR.epsilon),
)


def write_tables(results: Path) -> list[Path]:
    """Writes every table into the folder of the results. Raises ResultsError."""
    rows = read_rows(results / DEFENSE_FILE)
    texts = {table.file: accuracy_table(table, rows) for table in TABLES}
    texts["summary.md"] = summary_table(TABLES[0], rows)
    texts["models.md"] = models_table(rows)
    texts["table5.md"] = time_table(read_rows(results / TIMING_FILE))
    texts["table6.md"] = budget_table(read_rows(results / BUDGET_FILE))
    texts["adaptive.md"] = adaptive_table(read_rows(results / ADAPTIVE_FILE))
    for file, text in texts.items():
        write_text(results / file, text)
    return [results / file for file in texts]


def accuracy_table(table: Table, rows: Sequence[Row]) -> str:
    """Accuracy in %, with its 95% interval, for each attack (down) and defense (across)."""
    head = ["classifier", "attack", *(NAMES[d] for d in DEFENSES), "paper's PuVAE"]
    body = []
    used = []
    for classifier in table.classifiers:
        for attack in ATTACKS:
            for targeted in (False,) if attack == NONE else (False, True):
                cells = _cells(table, rows, classifier, attack, targeted)
                used += [row for row in cells if row]
                reference = _paper(table.dataset, classifier, attack, targeted)
                body.append([classifier, attack_name(attack, targeted), *map(_accuracy, cells), reference])
    bound = f"L-infinity radius {table.epsilon:g}; Carlini-Wagner minimises L2 and has none."
    cited = f"Paper's column: {paper.CITATION}, Table 2, read as targeted; empty where its number was not at hand."
    return "\n\n".join([f"### {table.title}", _markdown(head, body), *_notes(used), f"{bound} {cited}"]) + "\n"


def summary_table(table: Table, rows: Sequence[Row]) -> str:
    """The targeted half of `accuracy_table` without intervals, attacks that were measured only: for the README."""
    head = ["classifier", "attack", *(NAMES[d] for d in DEFENSES), "paper's PuVAE"]
    body = []
    for classifier, attack in product(table.classifiers, ATTACKS):
        cells = _cells(table, rows, classifier, attack, targeted=attack != NONE)
        if any(cells):
            shown = [f"{100 * row['accuracy']:.1f}" if row else NOT_RUN for row in cells]
            body.append([classifier, attack, *shown, _paper(table.dataset, classifier, attack, targeted=True)])
    return _markdown(head, body or [[NOT_RUN] * len(head)]) + "\n"


def models_table(rows: Sequence[Row]) -> str:
    """The table of accuracies without a defense and behind PuVAE (ours), targeted, of all that was measured."""
    body = []
    for table in TABLES:
        for classifier in sorted({row["classifier"] for row in rows if row["dataset"] == table.dataset}):
            line = [table.title.split(": ")[-1], classifier]
            for attack in ATTACKS:
                cells = _cells(table, rows, classifier, attack, targeted=attack != NONE)
                pair = [cells[DEFENSES.index(defense)] for defense in (NONE, PUVAE_OURS)]
                line.append(" → ".join(f"{100 * row['accuracy']:.1f}" if row else NOT_RUN for row in pair))
            body.append(line)
    head = ["dataset", "classifier", "clean", *ATTACKS[1:]]
    return _markdown(head, body or [[NOT_RUN] * len(head)]) + "\n"


def time_table(rows: Sequence[Row]) -> str:
    """Seconds for a mini-batch, and how many times faster the deployed engine is."""
    body = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        times = {row["defense"]: row for row in rows if row["dataset"] == dataset}
        slow, fast = times.get(DEFENSE_GAN), times.get(DEPLOYED)
        ratio = f"{slow['seconds'] / fast['seconds']:,.0f} x" if slow and fast else NOT_RUN
        body.append([dataset, *(f"{r['seconds']:.4g}" if r else NOT_RUN for r in (slow, fast)), ratio])
    head = ["dataset", f"{NAMES[DEFENSE_GAN]}, s", f"{NAMES[DEPLOYED]}, s", "ratio"]
    notes = [f"{NAMES[r['defense']]}: {_settings(r)}, batch {r['batch']}, {r['machine']}, {r['commit']}." for r in rows]
    notes.append(f"The paper's ratio: {paper.SPEED_RATIO} x ({paper.CITATION}, on its GPU).")
    title = "### Table 5: time for a mini-batch of 128, measured in one interleaved run"
    return "\n\n".join([title, _markdown(head, body or [[NOT_RUN] * len(head)]), *notes]) + "\n"


def budget_table(rows: Sequence[Row]) -> str:
    """Accuracy within a time budget for the whole mini-batch."""
    head = ["dataset", "classifier", "attack", "defense", *(f"{b:g} s" for b in BUDGETS)]
    body = []
    for row in sorted(rows, key=lambda r: BUDGET_DEFENSES.index(r["defense"])):
        within = [[p["accuracy"] for p in row["curve"] if p["seconds"] <= b] for b in BUDGETS]
        body.append(
            [row["dataset"], row["classifier"], attack_name(row["attack"], row["targeted"]), NAMES[row["defense"]]]
            + [f"{100 * reached[-1]:.1f}" if reached else "-" for reached in within]
        )
    note = "A dash: no result yet. Seconds are for the whole mini-batch, all defenses on the same clock."
    title = "### Table 6: accuracy (%) within a time budget"
    return "\n\n".join([title, _markdown(head, body or [[NOT_RUN] * len(head)]), *_notes(rows), note]) + "\n"


def adaptive_table(rows: Sequence[Row]) -> str:
    """Robust accuracy under attacks that know the defense."""
    head = ["dataset", "classifier", "defense", "epsilon", *ADAPTIVE_ATTACKS, WORST]
    groups: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in sorted(
        rows, key=lambda r: (r["dataset"], r["classifier"], ADAPTIVE_DEFENSES.index(r["defense"]), r["epsilon"])
    ):
        key = (row["dataset"], row["classifier"], NAMES[row["defense"]], f"{row['epsilon']:g}")
        groups.setdefault(key, {})[row["attack"]] = row
    body = [
        [*map(str, key), *(_accuracy(found.get(a)) for a in (*ADAPTIVE_ATTACKS, WORST))]
        for key, found in groups.items()
    ]
    title = "### Adaptive attacks: robust accuracy (%), untargeted, L-infinity"
    return "\n\n".join([title, _markdown(head, body or [[NOT_RUN] * len(head)]), *_notes(rows)]) + "\n"


def _cells(table: Table, rows: Sequence[Row], classifier: str, attack: str, targeted: bool) -> list[Row | None]:
    """One for each defense."""
    key = (table.dataset, classifier, attack, targeted, epsilon_of(attack, table.epsilon))
    return [_cell(rows, (*key, defense)) for defense in DEFENSES]


def _cell(rows: Sequence[Row], key: tuple[object, ...]) -> Row | None:
    names = ("dataset", "classifier", "attack", "targeted", "epsilon", "defense")
    return next((row for row in rows if tuple(row[name] for name in names) == key), None)


def _accuracy(row: Row | None) -> str:
    if row is None:
        return NOT_RUN
    return f"{100 * row['accuracy']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"


def _paper(dataset: str, classifier: str, attack: str, targeted: bool) -> str:
    value = paper.PUVAE.get(paper.Reference(dataset, classifier, attack)) if targeted else None
    return "" if value is None else f"{value:.1f}"


def attack_name(attack: str, targeted: bool) -> str:
    """An attack's name in the tables."""
    if attack == NONE:
        return "none (clean)"
    return f"{attack} {'targeted' if targeted else 'untargeted'}"


def _notes(rows: Iterable[Row]) -> list[str]:
    """How each defense's numbers came about: images, settings, then the machines and the code of each."""
    places: dict[str, dict[str, dict[str, None]]] = {}
    for row in rows:
        how = f"{NAMES[row['defense']]}: {row['n']} images, seed {row['seed']}, {_settings(row)}, {row['evidence']}"
        places.setdefault(how, {}).setdefault(row["machine"], {})[row["commit"]] = None
    lines = (
        f"- {how} on " + "; ".join(f"{machine} ({', '.join(commits)})" for machine, commits in found.items()) + "."
        for how, found in places.items()
    )
    return ["\n".join(lines)] if places else []


def _settings(row: Row) -> str:
    settings = row.get("settings", {})
    names = ("steps", "restarts", "rate", "spread", "sigma_eps", "tau", "kl_weight")
    known = {k: settings[k] for k in names if k in settings}
    if "schedule" in settings:
        known["epochs trained"] = settings["schedule"]["epochs"]
    return ", ".join(f"{k} {v:g}" for k, v in known.items()) or "no settings"


def _markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
