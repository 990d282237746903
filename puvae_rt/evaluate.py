"""`python -m puvae_rt.evaluate`: measures defenses under attack, and makes the paper's tables and figures.

Without a mode: accuracy of each (classifier, attack, defense) cell, into RESULTS/defense.json. Every result is
written as soon as it is measured; the same command goes on behind the finished ones, and measures again only what
was measured with other weights, settings, n or seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puvae_rt.attacks.radii import check_epsilon
from puvae_rt.cli.command import add_dataset, run_command
from puvae_rt.data import Dataset, load_dataset
from puvae_rt.errors import ContractError
from puvae_rt.evaluation.cells import (
    ADAPTIVE_ATTACKS,
    ADAPTIVE_DEFENSES,
    ATTACKS,
    BUDGET_DEFENSES,
    DEFENSES,
    PUVAE_OURS,
    PUVAE_PAPER,
    Cell,
    grid,
)
from puvae_rt.evaluation.results import BASELINES
from puvae_rt.models.spec import ARCHITECTURES

if TYPE_CHECKING:
    from puvae_rt.evaluation.run import Note, Options

AIMS = {"untargeted": (False,), "targeted": (True,), "both": (False, True)}
Report = dict[str, Any]


def work(args: argparse.Namespace) -> Report:
    """One mode's rows, or with --tables the files written."""
    if args.mode == "tables":
        return write(args.results)
    from puvae_rt.defenses.defense_gan import Search
    from puvae_rt.evaluation.run import Options  # needs PyTorch: `--help` does not

    for epsilon in args.epsilon or ():
        check_epsilon(epsilon)  # before anything is downloaded
    if args.n < 1 or args.n_defense_gan < 1:
        raise ContractError(f"n={args.n}, n-defense-gan={args.n_defense_gan}: expected at least 1 image")
    search = Search(args.gan_steps, args.gan_restarts, args.gan_rate, args.gan_spread, seed=args.seed)
    dataset = load_dataset(args.dataset, args.data)
    options = Options(
        args.models, args.results, args.n, args.n_defense_gan, args.seed, search, args.refine, args.baselines
    )
    measure = {"cells": cells, "adaptive": adaptive, "sigma": sigma, "time": timing}[args.mode]
    return {"results": measure(args, dataset, options, _note)}


def cells(args: argparse.Namespace, dataset: Dataset, options: Options, note: Note) -> list[Report]:
    from puvae_rt.evaluation.run import evaluate

    return evaluate(chosen(args, dataset, args.defense or DEFENSES), dataset, options, note)


def adaptive(args: argparse.Namespace, dataset: Dataset, options: Options, note: Note) -> list[Report]:
    from puvae_rt.evaluation.adaptive import Effort, default_epsilons, evaluate_adaptive

    attacks = args.adaptive_attack or ADAPTIVE_ATTACKS
    defenses = args.defense or ADAPTIVE_DEFENSES
    epsilons = args.epsilon or default_epsilons(dataset.contract)
    effort = Effort(pgd_steps=args.pgd_steps, apgd_steps=args.apgd_steps, queries=args.queries)
    return evaluate_adaptive(dataset, args.classifier, defenses, attacks, epsilons, options, note, effort)


def sigma(args: argparse.Namespace, dataset: Dataset, options: Options, note: Note) -> list[Report]:
    from puvae_rt.evaluation.sigma import search_sigma

    if unknown := sorted(set(args.defense or ()) - {PUVAE_PAPER, PUVAE_OURS}):
        raise ContractError(f"defense {unknown[0]!r}: sigma_eps is PuVAE's; expected {PUVAE_PAPER} or {PUVAE_OURS}")
    return search_sigma(chosen(args, dataset, args.defense or (PUVAE_PAPER, PUVAE_OURS)), dataset, options, note)


def timing(args: argparse.Namespace, dataset: Dataset, options: Options, note: Note) -> list[Report]:
    from puvae_rt.evaluation.timing import Deployed, budget_curves, time_batch

    deployed = Deployed(args.bundle or dataset.name, args.threads)
    rows = time_batch(dataset, deployed, options, note)
    attacked = chosen(args, dataset, (PUVAE_OURS,))
    return rows + budget_curves(attacked, dataset, deployed, args.budget_defense, args.budget_batch, options, note)


def chosen(args: argparse.Namespace, dataset: Dataset, defenses: Sequence[str]) -> list[Cell]:
    """The cells that the options name."""
    epsilons = args.epsilon or [None]
    aims = AIMS[args.aim]
    return [
        cell
        for epsilon in epsilons
        for cell in grid(dataset.name, dataset.contract, args.classifier, args.attack, aims, defenses, epsilon)
    ]


def write(results: Path) -> Report:
    from puvae_rt.evaluation.figures import write_figures
    from puvae_rt.evaluation.tables import write_tables

    return {"files": [str(path) for path in (*write_tables(results), *write_figures(results))]}


def show(report: Report) -> str:
    return "\n".join(report["files"]) if "files" in report else f"{len(report['results'])} results"


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m puvae_rt.evaluate", description=__doc__)
    mode = p.add_mutually_exclusive_group()
    for name, text in (
        ("adaptive", "attacks that know the defense, over a range of epsilon"),
        ("sigma", "PuVAE at every sigma_eps (Figure 4)"),
        ("time", "mini-batch of 128 and accuracy within a time budget (Tables 5, 6, Figure 5)"),
        ("tables", "write Tables 2 to 6 and the figures from RESULTS/*.json; measures nothing"),
    ):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, default="cells", help=text)
    _add_places(p)
    _add_cells(p)
    _add_effort(p)
    p.add_argument("--json", action="store_true", help="print the rows as JSON")
    return p


def _add_places(p: argparse.ArgumentParser) -> None:
    add_dataset(p)
    p.add_argument(
        "--models",
        type=Path,
        default=Path("runs"),
        help="MODELS/DATASET holds the weights; the models that ship stand in (default: runs)",
    )
    p.add_argument(
        "--baselines",
        type=Path,
        default=BASELINES,
        help="BASELINES/DATASET holds those that MODELS lacks (default: %(default)s)",
    )
    p.add_argument("--results", type=Path, default=Path("results"), help="(default: results)")
    p.add_argument("--bundle", help="of --time: shipped model or bundle that is timed (default: the dataset's name)")


def _add_cells(p: argparse.ArgumentParser) -> None:
    p.add_argument("--classifier", nargs="+", choices=sorted(ARCHITECTURES), default=["A"], help="(default: A)")
    p.add_argument("--attack", nargs="+", choices=ATTACKS, default=list(ATTACKS), help="(default: all)")
    p.add_argument("--aim", choices=sorted(AIMS), default="both", help="of the attacks (default: both)")
    p.add_argument("--epsilon", nargs="+", type=float, help="L-infinity radius (default: the paper's for the images)")
    p.add_argument("--defense", nargs="+", choices=DEFENSES, help="(default: all that the mode can take)")
    p.add_argument("--adaptive-attack", nargs="+", choices=ADAPTIVE_ATTACKS, help="of --adaptive (default: all)")
    p.add_argument(
        "--budget-defense", nargs="+", choices=BUDGET_DEFENSES, default=list(BUDGET_DEFENSES), help="of --time"
    )


def _add_effort(p: argparse.ArgumentParser) -> None:
    p.add_argument("--n", type=int, default=1000, help="test images a cell (default: %(default)s)")
    p.add_argument("--n-defense-gan", type=int, default=100, help="test images of Defense-GAN (default: %(default)s)")
    p.add_argument("--budget-batch", type=int, default=128, help="images of a budget curve (default: %(default)s)")
    p.add_argument("--gan-steps", type=int, default=200, help="Defense-GAN's L (default: %(default)s)")
    p.add_argument("--gan-restarts", type=int, default=20, help="Defense-GAN's R (default: %(default)s)")
    p.add_argument("--gan-rate", type=float, default=100.0, help="of its descent (default: %(default)s)")
    p.add_argument(
        "--gan-spread", type=float, default=1.0, help="standard deviation of its first codes (default: %(default)s)"
    )
    p.add_argument("--refine", type=int, default=0, help="steps of PuVAE's refinement (default: %(default)s, none)")
    p.add_argument("--pgd-steps", type=int, default=40, help="of --adaptive (default: %(default)s)")
    p.add_argument("--apgd-steps", type=int, default=100, help="of --adaptive (default: %(default)s)")
    p.add_argument("--queries", type=int, default=1000, help="of Square, --adaptive (default: %(default)s)")
    p.add_argument("--threads", type=int, help="of the timed engine (default: 1)")
    p.add_argument("--seed", type=int, default=0)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_command(lambda: work(args), show, args.json, "the same command goes on behind the finished results")


if __name__ == "__main__":
    sys.exit(main())
