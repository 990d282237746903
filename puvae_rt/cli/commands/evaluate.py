"""Measure defenses under attack, and make the paper's tables and figures.

Without a mode: the accuracy of each cell (classifier, attack, defense), into RESULTS/defense.json. Every result is
written as soon as it is measured, and of attacks that know the defense every image's. Run the same command again to
continue: finished results are kept, and only what was measured with other weights, settings, number of images or seed
is measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puvae_rt.attacks.radii import check_epsilon
from puvae_rt.cli import shared
from puvae_rt.cli.command import Outcome
from puvae_rt.cli.options import READ, SEALED, option
from puvae_rt.defenses.gan_search import Search
from puvae_rt.errors import ContractError
from puvae_rt.evaluation.cells import (
    ADAPTIVE_ATTACKS,
    ADAPTIVE_DEFENSES,
    ATTACKS,
    BEYOND,
    BUDGET_DEFENSES,
    DEFENSES,
    NONE,
    PUVAE_OURS,
    PUVAE_PAPER,
    USUAL_ATTACKS,
    Cell,
    grid,
)
from puvae_rt.evaluation.effort import BUDGET_IMAGES, DEFENSE_GAN_IMAGES, IMAGES, Effort, Smoothing
from puvae_rt.evaluation.results import BASELINES
from puvae_rt.models.spec import ARCHITECTURES
from puvae_rt.training.settings import AUTO, DEVICES, RUNS

if TYPE_CHECKING:
    from puvae_rt.data import Dataset
    from puvae_rt.evaluation import run as measuring
    from puvae_rt.evaluation.timing import Deployed

HINT = "run the same command again to continue; finished results are kept"
AIMS = {"untargeted": (False,), "targeted": (True,), "both": (False, True)}
Report = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Arguments of `puvae evaluate`."""

    adaptive: bool = option(False, help="mode: attacks that know the defense, over a range of radii", group="mode")
    beyond: bool = option(
        False,
        help="mode: L2 attacks, patches, adversarial blurs and natural corruptions, three sizes each",
        group="mode",
    )
    conditions: bool = option(
        False, help="mode: RobustBench's conditions: gradients that are not zero, no chance, no loop", group="mode"
    )
    certificate: bool = option(
        False, help="mode: L2 radii that randomized smoothing certifies, by many noisy copies of an image", group="mode"
    )
    sigma_sweep: bool = option(False, help="mode: PuVAE at every sigma_eps (Figure 4)", group="mode", old=("--sigma",))
    time: bool = option(
        False,
        help="mode: time of a mini-batch, and accuracy within a time budget (Tables 5, 6, Figure 5)",
        group="mode",
    )
    tables: bool = option(
        False, help="mode: write Tables 2 to 6 and the figures from RESULTS/*.json; measures nothing", group="mode"
    )
    dataset: str = option("mnist", help=shared.DATASET_HELP)
    data: Path | None = option(None, help=shared.DATA_HELP, default_text=shared.DATA_DEFAULT, role=READ)
    runs: Path = option(RUNS, help=f"{shared.RUNS_HELP}; the models that ship stand in", old=("--models",))
    baselines: Path = option(BASELINES, help="folder of kept baselines, taken where RUNS lacks one")
    results: Path = option(Path("results"), help=f"{shared.RESULTS_HELP}; read and written to", role=SEALED)
    bundle: str | None = option(
        None,
        help="engine of --time, --conditions and --certificate: a bundle's folder or a shipped model's name",
        default_text="the data set's name",
    )
    classifiers: tuple[str, ...] = option(
        ("A",),
        help="architectures of the defended classifiers",
        choices=sorted(ARCHITECTURES),
        old=("--classifier",),
    )
    attack: tuple[str, ...] = option(tuple(ATTACKS), help="attacks of the cells", choices=ATTACKS, default_text="all")
    aim: str = option("both", help="whether the attacks choose the wrong class", choices=sorted(AIMS))
    epsilon: tuple[float, ...] | None = option(
        None,
        help="L-infinity radii of the attacks, of pixels in [0,1]",
        default_text="the paper's for such images",
    )
    defense: tuple[str, ...] | None = option(
        None,
        help="defenses to measure",
        choices=DEFENSES,
        default_text="all that the mode can take and that have weights",
    )
    adaptive_attack: tuple[str, ...] = option(
        USUAL_ATTACKS,
        help="attacks of --adaptive; auto_attack is the standard one, needs torchattacks, and takes hours",
        choices=ADAPTIVE_ATTACKS,
        default_text="all but auto_attack",
    )
    beyond_attack: tuple[str, ...] = option(
        BEYOND, help="attacks and corruptions of --beyond", choices=BEYOND, default_text="all"
    )
    budget_defense: tuple[str, ...] = option(
        tuple(BUDGET_DEFENSES), help="defenses of --time", choices=BUDGET_DEFENSES, default_text="all"
    )
    images: int = option(IMAGES, help="number of test images of a cell", old=("--n",))
    defense_gan_images: int = option(
        DEFENSE_GAN_IMAGES, help="number of test images of a cell of Defense-GAN", old=("--n-defense-gan",)
    )
    budget_images: int = option(
        BUDGET_IMAGES, help="number of test images of a curve of --time", least=1, old=("--budget-batch",)
    )
    gan_steps: int = option(Search.steps, help="steps of Defense-GAN's search, the paper's L")
    gan_restarts: int = option(Search.restarts, help="random starts of Defense-GAN's search, the paper's R")
    gan_rate: float = option(Search.rate, help="learning rate of Defense-GAN's search")
    gan_spread: float = option(Search.spread, help="standard deviation of the codes Defense-GAN's search starts from")
    refine: int = option(0, help="steps of PuVAE's refinement", least=0)
    pgd_steps: int = option(Effort.pgd_steps, help="steps of PGD in --adaptive and --beyond", least=1)
    apgd_steps: int = option(Effort.apgd_steps, help="steps of APGD in --adaptive", least=1)
    queries: int = option(Effort.queries, help="queries of Square in --adaptive; auto_attack's has 5000", least=1)
    noise: tuple[float, ...] = option(
        Smoothing.sigmas, help="standard deviations of the noise of --certificate, of pixels in [0,1]", above=0, most=10
    )
    copies: int = option(Smoothing.copies, help="noisy copies of an image in --certificate", least=10, most=1_000_000)
    device: str = option(AUTO, help=f"{shared.DEVICE_HELP}; the engine of --time is on the CPU", choices=DEVICES)
    threads: int | None = option(None, help="threads of the engine", default_text="all, for a batch")
    seed: int = option(Search.seed, help="seed of everything random", least=0, most=shared.MAX_SEED)


def run(options: Options) -> Outcome:
    """Measure one mode's rows, or with --tables write the files."""
    if options.tables:
        return _write(options.results)
    for epsilon in options.epsilon or ():
        check_epsilon(epsilon)  # before anything is downloaded
    if options.images < 1 or options.defense_gan_images < 1:
        raise ContractError(
            f"--images {options.images}, --defense-gan-images {options.defense_gan_images}: expected at least 1 image"
        )
    if options.bundle is not None:
        from puvae_rt.runtime.bundle import resolve

        resolve(options.bundle, None, classifier=False)  # this, too
    search = Search(options.gan_steps, options.gan_restarts, options.gan_rate, options.gan_spread, seed=options.seed)
    from puvae_rt.data import load_dataset
    from puvae_rt.evaluation.run import Options as Settings
    from puvae_rt.training import device as places

    if (device := places.resolve(options.device)) != places.CPU:
        shared.note(f"device: {places.described(device)}")
    dataset = load_dataset(options.dataset, options.data)
    settings = Settings(
        options.runs,
        options.results,
        options.images,
        options.defense_gan_images,
        options.seed,
        search,
        options.refine,
        options.baselines,
        device,
    )
    rows = _mode(options)(options, dataset, settings)
    return Outcome({"results": rows}, f"{len(rows)} results")


def _mode(options: Options) -> Callable[[Options, Dataset, measuring.Options], list[Report]]:
    modes = {
        _adaptive: options.adaptive,
        _beyond: options.beyond,
        _conditions: options.conditions,
        _certificate: options.certificate,
        _sigma: options.sigma_sweep,
        _timing: options.time,
    }
    return next((mode for mode, chosen in modes.items() if chosen), _cells)


def _cells(options: Options, dataset: Dataset, settings: measuring.Options) -> list[Report]:
    from puvae_rt.evaluation.run import evaluate

    defenses = _defenses(options, dataset, settings, DEFENSES)
    return evaluate(_chosen(options, dataset, defenses), dataset, settings, shared.note)


def _adaptive(options: Options, dataset: Dataset, settings: measuring.Options) -> list[Report]:
    from puvae_rt.evaluation.adaptive import default_epsilons, evaluate_adaptive

    defenses = _defenses(options, dataset, settings, ADAPTIVE_DEFENSES)
    epsilons = options.epsilon or default_epsilons(dataset.contract)
    attacks, effort = options.adaptive_attack, _effort(options)
    return evaluate_adaptive(dataset, options.classifiers, defenses, attacks, epsilons, settings, shared.note, effort)


def _beyond(options: Options, dataset: Dataset, settings: measuring.Options) -> list[Report]:
    from puvae_rt.evaluation.beyond import evaluate_beyond

    defenses, attacks = _defenses(options, dataset, settings, ADAPTIVE_DEFENSES), options.beyond_attack
    return evaluate_beyond(dataset, options.classifiers, defenses, attacks, settings, shared.note, _effort(options))


def _effort(options: Options) -> Effort:
    return Effort(pgd_steps=options.pgd_steps, apgd_steps=options.apgd_steps, queries=options.queries)


def _conditions(options: Options, dataset: Dataset, settings: measuring.Options) -> list[Report]:
    from puvae_rt.evaluation.conditions import evaluate_conditions

    defenses = _defenses(options, dataset, settings, ADAPTIVE_DEFENSES)
    deployed = _deployed(options, dataset)
    return evaluate_conditions(dataset, options.classifiers, defenses, deployed, settings, shared.note)


def _certificate(options: Options, dataset: Dataset, settings: measuring.Options) -> list[Report]:
    from puvae_rt.evaluation.certificate import evaluate_certificate

    defenses = options.defense or (NONE, PUVAE_OURS)
    smoothing = Smoothing(sigmas=options.noise, copies=options.copies)
    deployed = _deployed(options, dataset)
    return evaluate_certificate(dataset, options.classifiers, defenses, deployed, smoothing, settings, shared.note)


def _deployed(options: Options, dataset: Dataset) -> Deployed | None:
    """The engine that --bundle names, or else the data set's shipped model; None where there is none."""
    from puvae_rt.evaluation.timing import Deployed
    from puvae_rt.runtime.assets import shipped_names

    source = options.bundle or (dataset.name if dataset.name in shipped_names() else None)
    return Deployed(source, options.threads) if source else None


def _sigma(options: Options, dataset: Dataset, settings: measuring.Options) -> list[Report]:
    from puvae_rt.evaluation.sigma import search_sigma

    if unknown := sorted(set(options.defense or ()) - {PUVAE_PAPER, PUVAE_OURS}):
        raise ContractError(f"defense {unknown[0]!r}: sigma_eps is PuVAE's; expected {PUVAE_PAPER} or {PUVAE_OURS}")
    cells = _chosen(options, dataset, options.defense or (PUVAE_PAPER, PUVAE_OURS))
    return search_sigma(cells, dataset, settings, shared.note)


def _timing(options: Options, dataset: Dataset, settings: measuring.Options) -> list[Report]:
    from puvae_rt.evaluation.timing import Deployed, budget_curves, time_batch

    deployed = Deployed(options.bundle or dataset.name, options.threads)
    rows = time_batch(dataset, deployed, settings, shared.note)
    attacked = _chosen(options, dataset, (PUVAE_OURS,))
    return rows + budget_curves(
        attacked, dataset, deployed, options.budget_defense, options.budget_images, settings, shared.note
    )


def _defenses(options: Options, dataset: Dataset, settings: measuring.Options, known: Sequence[str]) -> Sequence[str]:
    """The defenses asked for; without any, the `known` ones that have weights, and a note of those that have not."""
    if options.defense:
        return options.defense
    folder = settings.folder(dataset.name)
    for architecture in options.classifiers:
        folder.weights(f"classifier_{architecture.lower()}")  # raises: nothing is measured without it
    there = [defense for defense in known if all(folder.has(defense, a) for a in options.classifiers)]
    if left := [defense for defense in known if defense not in there]:
        shared.note(f"no weights of {', '.join(left)}: not measured")
    return there


def _chosen(options: Options, dataset: Dataset, defenses: Sequence[str]) -> list[Cell]:
    """The cells that the options name."""
    aims = AIMS[options.aim]
    return [
        cell
        for epsilon in options.epsilon or (None,)
        for cell in grid(dataset.name, dataset.contract, options.classifiers, options.attack, aims, defenses, epsilon)
    ]


def _write(results: Path) -> Outcome:
    from puvae_rt.evaluation.figures import write_figures
    from puvae_rt.evaluation.results import require_results
    from puvae_rt.evaluation.tables import write_tables

    require_results(results)
    files = [str(path) for path in (*write_tables(results), *write_figures(results))]
    return Outcome({"files": files}, "\n".join(files))
