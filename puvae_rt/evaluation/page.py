"""The documentation's page of accuracies, docs/explanation/accuracy.md, made of the stored results.

`python -m puvae_rt.evaluation.page > docs/explanation/accuracy.md` in the repository's root makes it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from puvae_rt.evaluation import paper
from puvae_rt.evaluation.cells import (
    ADV_TRAINING,
    BIT_DEPTH,
    DEFENSE_GAN,
    DEFENSES,
    FGSM,
    JPEG,
    MAGNET,
    MEDIAN,
    NONE,
    PGD_TRAINING,
    PRIOR_ONLY,
    PUVAE_OURS,
    PUVAE_PAPER,
    PUVAE_RMSE,
    THRESHOLD,
)
from puvae_rt.evaluation.clock_tables import budget_table, time_table
from puvae_rt.evaluation.labels import MARK, NAMES, NOT_RUN, OUTDATED_NOTE, PAPER_NAMES, markdown, percent
from puvae_rt.evaluation.results import ADAPTIVE_FILE, BUDGET_FILE, DEFENSE_FILE, IDENTITY, TIMING_FILE, Row, read_rows
from puvae_rt.evaluation.tables import (
    ADAPTIVE_TITLE,
    BUDGET_TITLE,
    TABLES,
    TIME_TITLE,
    Table,
    accuracy_table,
    adaptive_table,
    models_table,
    paper_table,
    summary_table,
)

LOW_RANK_FILE = "low_rank.md"  # that `puvae low-rank` writes

_INTRODUCTION = """\
# Accuracy, in full

This page is made by `puvae_rt/evaluation/page.py` of the rows in `results/`, which `puvae evaluate` measures
([how](../howto/evaluate.md)); a test holds it to them. Below the same tables in `results/`, and with every row of
`results/defense.json`, stand settings, seed, machine, commit and the digests of the weights of each number. The weights
of every system compared on MNIST lie in `results/baselines/` or ship with the package: any such cell can be measured
again from a clone, without a training. On the other data sets the baselines come first (`puvae train-baselines`).

## What was measured

Attacks know the classifier, which stands there undefended, and nothing of a defense. A *targeted* one aims at a random
other class, as the paper's do. The radius is .3 on gray images and .06 on color ones; Carlini-Wagner (`cw`) minimizes
the L2 norm and has none. Accuracy is in % of the first 1,000 test images (Defense-GAN: 100), in brackets its 95%
interval (Wilson). The paper's numbers are of 10,000 images and of its own trainings of the same architectures.
"""
_MEANINGS = {
    NONE: "the attacked classifier itself",
    THRESHOLD: "pixels above .5 become 1, the others 0",
    BIT_DEPTH: "one bit a channel on gray images, which is the threshold again; four on color (Xu et al. 2018)",
    JPEG: "the image is stored in quality 75 and read back (Dziugaite et al. 2016, Guo et al. 2018)",
    MEDIAN: "the median of 3x3 pixels (Xu et al. 2018)",
    ADV_TRAINING: "another classifier of the same architecture, trained on FGSM examples of the very classifier that "
    "is then attacked: the paper's adversarial training",
    PGD_TRAINING: "another classifier of the same architecture, trained on PGD examples of its own (Madry et al. 2018)",
    MAGNET: "its reformer, without the detector",
    DEFENSE_GAN: "200 steps, 20 restarts",
    PUVAE_PAPER: "the paper's losses and choice, trained here",
    PUVAE_RMSE: "PuVAE (ours), which chooses the class by the distance alone",
    PRIOR_ONLY: "the prior of PuVAE (ours) as a classifier of its own",
    PUVAE_OURS: "what ships",
}
_FAIRNESS = """\
No attack on a defended classifier took part in a training of ours, recipe and score were chosen without one, and the
schedule of the fine-tuning was fixed before its model was measured. Both trained classifiers meet the attacks that
were made on the undefended one: a transfer, easier than an attack on themselves.
"""
_READING = """\
## What the numbers do not say

- **Trivial defenses are no straw men.** An attack of .3 takes no pixel of a black and white image across the threshold
  at .5, and MNIST is nearly black and white; on garments and on color images it is another matter.
- **The paper's recipe was trained for 3 epochs here.** Where it collapsed, clean images say so, and its other cells
  there say no more than that.
- **Defense-GAN was trained for an hour,** 17,575 to 27,575 steps of the generator; its authors'
  [configuration](https://github.com/kabkabm/defensegan/blob/master/experiments/cfgs/gans/default.yml) has 200,000. Its
  search starts from the prior, at ten times their rate; what each setting leaves is in the [decisions](decisions.md).
- **FGSM training has met the attack.** {leaking}
- **The CIFAR-10 measured here is a JPEG copy,** itself a mild defense. C's FGSM training has one epoch, an hour here.
- **The noise of the latent code** (sigma_eps 0 to 100, the paper's second search) is in Figure 4
  (`results/figure4_sigma.png`, `puvae evaluate --sigma-sweep`). Up to .1 it changes nothing beyond a point; what is
  deployed has none.
- **The recipe comes from a search on the validation split** with attacks on M_s only, `puvae search`: table
  (`results/search_mnist.md`), pictures (`results/search_mnist.png`). Its trials are short trainings of a proxy (25,000
  images, 3 epochs, a fully connected encoder): they rank losses, and their accuracies are not the model's.
"""
_ADAPTIVE = """\
A purifier is not a proof: an attacker who knows classifier and defense does better than one who knows the classifier
(`puvae evaluate --adaptive`; curves: `results/adaptive.png`). In `worst` an image counts when it stands against every
attack that was run.
"""
_LOW_RANK = """\
## The price of low rank

The fully connected layers and the trunk's convolutions ship as products of thin ones. Validation images, attacks on
the source classifier M_s, accuracy of the chosen class in %:
"""


def accuracy_page(results: Path) -> str:
    """The whole page, Markdown, of the results in a folder. Raises ResultsError."""
    rows = read_rows(results / DEFENSE_FILE)
    low_rank = (results / LOW_RANK_FILE).read_text("utf-8") if (results / LOW_RANK_FILE).exists() else NOT_RUN
    parts = [
        _INTRODUCTION,
        markdown(["column", "what it is"], [[NAMES[defense], _MEANINGS[defense]] for defense in DEFENSES]) + "\n",
        _FAIRNESS,
        "## In short\n\nMNIST, targeted attacks:\n",
        summary_table(TABLES[0], rows),
        "The models that ship, without a purifier → behind it, targeted attacks:\n",
        models_table(rows),
        "Attacked cells in which PuVAE (ours) is ahead, of those measured with both (a tie counts half):\n",
        standings(rows),
        *(part for table in TABLES for part in _dataset(table, rows)),
        _READING.format(leaking=_leaking(rows)),
        f"## {TIME_TITLE}\n",
        time_table(read_rows(results / TIMING_FILE)),
        f"## {BUDGET_TITLE}\n",
        budget_table(read_rows(results / BUDGET_FILE)),
        "The whole curves are in `results/figure5.png`.\n",
        f"## {ADAPTIVE_TITLE}\n",
        _ADAPTIVE,
        adaptive_table(read_rows(results / ADAPTIVE_FILE)),
        _LOW_RANK,
        low_rank,
    ]
    return "\n".join(parts)


def _dataset(table: Table, rows: Sequence[Row]) -> Iterator[str]:
    """The section of a data set."""
    yield f"## {table.title}\n"
    if paper.classifiers(table.dataset):
        yield f"Ours beside the paper's ({paper.CITATION}), targeted attacks:\n"
        yield paper_table(table, rows)
        yield "Everything measured here:\n"
    yield (text := accuracy_table(table, rows))
    if MARK in text:
        yield f"{OUTDATED_NOTE}\n"


def standings(rows: Sequence[Row]) -> str:
    """In how many attacked cells PuVAE (ours) is ahead of each other defense, and of the paper's, by data set."""
    cells = {tuple(row[name] for name in IDENTITY): row for row in _attacked(rows)}
    ours = [(cell, row) for (*cell, defense), row in cells.items() if defense == PUVAE_OURS]
    body = []
    for other in (defense for defense in DEFENSES if defense not in (NONE, PUVAE_OURS)):
        pairs = [(cell, row, rival["accuracy"]) for cell, row in ours if (rival := cells.get((*cell, other)))]
        body.append([NAMES[other], *_scores(pairs)])
    printed = []
    for cell, row in ours:
        dataset, classifier, attack, targeted, _ = cell
        number = paper.accuracy(dataset, classifier, attack, PUVAE_PAPER)
        if targeted and number is not None:
            printed.append((cell, row, number / 100))
    body.append([PAPER_NAMES[PUVAE_PAPER], *_scores(printed)])
    return markdown(["ahead of", *map(_short, TABLES)], body) + "\n"


def _scores(pairs: Sequence[tuple[Sequence[object], Row, float]]) -> Iterator[str]:
    """For each data set, how many of its cells have a row of a higher accuracy than the rival's."""
    for table in TABLES:
        margins = [row["accuracy"] - rival for (dataset, *_), row, rival in pairs if dataset == table.dataset]
        ahead = sum(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins)
        yield f"{ahead:g} of {len(margins)}" if margins else NOT_RUN


def _short(table: Table) -> str:
    """A data set's name."""
    return table.title.split(": ")[-1]


def _attacked(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows of attacks of the tables' radii."""
    for row in rows:
        radii = [table.epsilon for table in TABLES if table.dataset == row["dataset"]]
        if row["attack"] != NONE and row["epsilon"] in (None, *radii):
            yield row


def _leaking(rows: Sequence[Row]) -> str:
    """Where FGSM training does better under untargeted FGSM than on clean images, and what that means."""
    found = []
    for table in TABLES:
        for classifier in table.classifiers:
            mine = [
                r
                for r in rows
                if (r["dataset"], r["classifier"], r["defense"]) == (table.dataset, classifier, ADV_TRAINING)
            ]
            clean = next((r for r in mine if r["attack"] == NONE), None)
            under = next((r for r in _attacked(mine) if r["attack"] == FGSM and not r["targeted"]), None)
            if clean and under and under["accuracy"] > clean["accuracy"]:
                found.append(f"{_short(table)} {classifier}, {percent(under)} and {percent(clean)}%")
    if not found:
        return "It was trained on FGSM, and on no other."
    return (
        f"Where it does better under untargeted FGSM than on clean images\n  ({'; '.join(found)}),\n  it reads the "
        "class off the perturbation: label leaking, [Kurakin et al. 2017](https://arxiv.org/abs/1611.01236)."
    )


if __name__ == "__main__":
    import sys

    sys.stdout.write(accuracy_page(Path("results")))
