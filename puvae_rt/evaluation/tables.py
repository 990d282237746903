"""Markdown tables from the stored results: Tables 2 to 6 of the paper, with its own numbers beside ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from puvae_rt.attacks.radii import COLOUR, GRAY
from puvae_rt.evaluation import paper
from puvae_rt.evaluation.cells import (
    ADAPTIVE_ATTACKS,
    ADAPTIVE_DEFENSES,
    ADV_TRAINING,
    ATTACKS,
    DEFENSE_GAN,
    DEFENSES,
    MAGNET,
    NONE,
    PGD_TRAINING,
    PRIOR_ONLY,
    PUVAE_OURS,
    PUVAE_PAPER,
    THRESHOLD,
    WORST,
    epsilon_of,
)
from puvae_rt.evaluation.clock_tables import budget_table, time_table
from puvae_rt.evaluation.labels import (
    NAMES,
    OUTDATED,
    OUTDATED_NOTE,
    PAPER_NAMES,
    attack_name,
    interval,
    markdown,
    notes,
    percent,
    printed,
)
from puvae_rt.evaluation.results import (
    ADAPTIVE_FILE,
    BEYOND_FILE,
    BUDGET_FILE,
    CERTIFICATE_FILE,
    CONDITIONS_FILE,
    DEFENSE_FILE,
    IDENTITY,
    TIMING_FILE,
    Row,
    read_rows,
)
from puvae_rt.evaluation.robust_tables import (
    BEYOND_TITLE,
    CERTIFICATE_TITLE,
    CONDITIONS_TITLE,
    WORST_TITLE,
    beyond_table,
    certificate_table,
    conditions_table,
    worst_table,
)
from puvae_rt.files import write_text

# Columns of the README's table, where anything of them was measured.
SUMMARY = (NONE, THRESHOLD, ADV_TRAINING, PGD_TRAINING, MAGNET, DEFENSE_GAN, PUVAE_PAPER, PRIOR_ONLY, PUVAE_OURS)


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


TIME_TITLE = "Table 5: time for a mini-batch of 128, measured in one interleaved run"
BUDGET_TITLE = "Table 6: accuracy (%) within a time budget"
ADAPTIVE_TITLE = "Adaptive attacks: robust accuracy (%), untargeted, L-infinity"


def write_tables(results: Path) -> list[Path]:
    """Writes every table into the folder of the results. Raises ResultsError."""
    rows = read_rows(results / DEFENSE_FILE)
    texts = {table.file: _accuracy_file(table, rows) for table in TABLES}
    texts["summary.md"] = summary_table(TABLES[0], rows)
    texts["models.md"] = models_table(rows)
    adaptive = read_rows(results / ADAPTIVE_FILE)
    for file, title, text in (
        ("table5.md", TIME_TITLE, time_table(read_rows(results / TIMING_FILE))),
        ("table6.md", BUDGET_TITLE, budget_table(read_rows(results / BUDGET_FILE))),
        ("adaptive.md", ADAPTIVE_TITLE, adaptive_table(adaptive)),
        ("worst.md", WORST_TITLE, worst_table([*rows, *adaptive])),
        ("beyond.md", BEYOND_TITLE, beyond_table(read_rows(results / BEYOND_FILE))),
        ("conditions.md", CONDITIONS_TITLE, conditions_table(read_rows(results / CONDITIONS_FILE))),
        ("certificate.md", CERTIFICATE_TITLE, certificate_table(read_rows(results / CERTIFICATE_FILE))),
    ):
        texts[file] = f"### {title}\n\n{text}"
    for file, text in texts.items():
        write_text(results / file, text)
    return [results / file for file in texts]


def _accuracy_file(table: Table, rows: Sequence[Row]) -> str:
    """Both tables of a data set, and how their numbers came about."""
    used = [row for line in _lines(table) for row in _cells(table, rows, *line, DEFENSES) if row]
    parts = [f"### {table.title}"]
    if paper.classifiers(table.dataset):
        parts += [
            f"Ours beside the paper's ({paper.CITATION}), accuracy in %, targeted attacks; of clean images the paper "
            "tells what is right without a defense.",
            paper_table(table, rows).strip(),
            "Everything measured here, accuracy in % with its 95% interval.",
        ]
    bound = [f"L-infinity radius {table.epsilon:g}; Carlini-Wagner minimises L2 and has none."]
    if any(OUTDATED in row for row in used):
        bound.append(OUTDATED_NOTE)
    return "\n\n".join([*parts, accuracy_table(table, rows).strip(), *notes(used), *bound]) + "\n"


def paper_table(table: Table, rows: Sequence[Row]) -> str:
    """Accuracy in % of the paper's classifiers and defenses, targeted, each with the paper's number beside it."""
    head = ["classifier", "attack"]
    for defense in paper.DEFENSES:
        head += [NAMES[d] for d in _beside(defense)] + [PAPER_NAMES[defense]]
    body = []
    for classifier, attack in product(paper.classifiers(table.dataset), ATTACKS):
        line = [classifier, attack]
        for defense in paper.DEFENSES:
            line += map(percent, _cells(table, rows, classifier, attack, attack != NONE, _beside(defense)))
            line.append(printed(paper.accuracy(table.dataset, classifier, attack, defense)))
        body.append(line)
    return markdown(head, body) + "\n"


def _beside(defense: str) -> tuple[str, ...]:
    """What of ours stands beside a column of the paper's."""
    return (PUVAE_PAPER, PUVAE_OURS) if defense == PUVAE_PAPER else (defense,)


def accuracy_table(table: Table, rows: Sequence[Row]) -> str:
    """Accuracy in %, with its 95% interval, for each attack (down) and defense (across)."""
    body = [
        [classifier, attack_name(attack, targeted)]
        + [interval(row) for row in _cells(table, rows, classifier, attack, targeted, DEFENSES)]
        for classifier, attack, targeted in _lines(table)
    ]
    return markdown(["classifier", "attack", *(NAMES[d] for d in DEFENSES)], body) + "\n"


def summary_table(table: Table, rows: Sequence[Row]) -> str:
    """What was measured of the targeted attacks, without intervals, and the paper's PuVAE: for the README."""
    lines = [
        (classifier, attack, _cells(table, rows, classifier, attack, attack != NONE, SUMMARY))
        for classifier, attack in product(table.classifiers, ATTACKS)
    ]
    columns = [place for place in range(len(SUMMARY)) if any(cells[place] for *_, cells in lines)]
    body = []
    for classifier, attack, cells in lines:
        if any(cells):
            reference = printed(paper.accuracy(table.dataset, classifier, attack, PUVAE_PAPER))
            body.append([classifier, attack, *(percent(cells[place]) for place in columns), reference])
    names = [NAMES[SUMMARY[place]] for place in columns]
    return markdown(["classifier", "attack", *names, PAPER_NAMES[PUVAE_PAPER]], body) + "\n"


def models_table(rows: Sequence[Row]) -> str:
    """The table of accuracies without a defense and behind PuVAE (ours), targeted, of all that was measured."""
    body = []
    for table in TABLES:
        for classifier in sorted({row["classifier"] for row in rows if row["dataset"] == table.dataset}):
            line = [table.title.split(": ")[-1], classifier]
            for attack in ATTACKS:
                pair = _cells(table, rows, classifier, attack, attack != NONE, (NONE, PUVAE_OURS))
                line.append(" → ".join(map(percent, pair)))
            body.append(line)
    return markdown(["dataset", "classifier", "clean", *ATTACKS[1:]], body) + "\n"


def adaptive_table(rows: Sequence[Row]) -> str:
    """Robust accuracy under attacks that know the defense."""
    rows = [row for row in rows if row["attack"] != NONE]
    attacks = [*(a for a in ADAPTIVE_ATTACKS if any(row["attack"] == a for row in rows)), WORST]
    head = ["dataset", "classifier", "defense", "epsilon", *attacks]
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in sorted(
        rows, key=lambda r: (r["dataset"], r["classifier"], ADAPTIVE_DEFENSES.index(r["defense"]), r["epsilon"])
    ):
        key = (row["dataset"], row["classifier"], NAMES[row["defense"]], f"{row['epsilon']:g}")
        groups.setdefault(key, {})[row["attack"]] = row
    body = [[*key, *(interval(found.get(attack)) for attack in attacks)] for key, found in groups.items()]
    return "\n\n".join([markdown(head, body), *notes(rows)]) + "\n"


def _lines(table: Table) -> Iterator[tuple[str, str, bool]]:
    """Classifier, attack and whether it is targeted, for each line of a table."""
    for classifier, attack in product(table.classifiers, ATTACKS):
        for targeted in (False,) if attack == NONE else (False, True):
            yield classifier, attack, targeted


def _cells(
    table: Table, rows: Sequence[Row], classifier: str, attack: str, targeted: bool, defenses: Sequence[str]
) -> list[Row | None]:
    """The row of each of the defenses, None where it was not measured; OUTDATED of another classifier than today's."""
    line = (table.dataset, classifier, attack, targeted, epsilon_of(attack, table.epsilon))
    name = f"classifier_{classifier.lower()}"
    today = _digest(_cell(rows, (table.dataset, classifier, NONE, False, 0.0, NONE)), name)
    found = [_cell(rows, (*line, defense)) for defense in defenses]
    return [
        row | {OUTDATED: True} if row and today not in (_digest(row, name) or today, None) else row for row in found
    ]


def _digest(row: Row | None, artefact: str) -> str | None:
    """The digest of the weights that a row was measured with, None where it says nothing of this artefact."""
    return row.get("weights", {}).get(artefact) if row else None


def _cell(rows: Sequence[Row], key: tuple[object, ...]) -> Row | None:
    return next((row for row in rows if tuple(row[name] for name in IDENTITY) == key), None)
