"""Time and accuracy on one clock: Table 5 (a mini-batch of 128) and Table 6 / Figure 5 (accuracy within a budget)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from puvae_rt.attacks.white_box import Model
from puvae_rt.data import Dataset
from puvae_rt.defenses.protocol import Anytime, Defense, classify
from puvae_rt.defenses.puvae import DeployedPuvae
from puvae_rt.errors import ContractError
from puvae_rt.evaluation.cells import BUDGET_DEFENSES, DEFENSE_GAN, DEPLOYED, PUVAE_OURS, REFINED, Cell
from puvae_rt.evaluation.models import build
from puvae_rt.evaluation.results import BUDGET_FILE, IDENTITY, TIMING_FILE, Row, accuracy_fields, measure_once
from puvae_rt.evaluation.run import Note, Options, cell_images, label
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.training.device import CPU, clock_of, gpu_name

BATCH = 128  # the paper's mini-batch
Clock = Callable[[], float]


class Deployed(NamedTuple):
    """The engine that is timed: a shipped model's name or a bundle's folder."""

    source: str
    threads: int | None = None

    def open(self) -> Purifier:
        """A purifier on the engine, without a classifier."""
        return Purifier.load(self.source, threads=self.threads, classifier=False)


def time_batch(dataset: Dataset, deployed: Deployed, options: Options, note: Note) -> list[Row]:
    """Measure Table 5: Defense-GAN once over a mini-batch, the deployed engine on the same images between its steps.

    The engine runs on the CPU, Defense-GAN on the device of `options`; each row says where.
    """
    images = torch.from_numpy(dataset.test.batch(slice(0, BATCH))[0])
    folder = options.folder(dataset.name)
    system = build(folder, DEFENSE_GAN, "A", options.seed, options.search, refine=0)
    with deployed.open() as engine:
        check_engine(engine, dataset)
        clock = clock_of(options.device)
        slow, fast = interleave(_anytime(system.defended.defense), DeployedPuvae(engine), images, clock, options.device)
    common = {"dataset": dataset.name, "batch": len(images), "seed": options.seed}
    measured: tuple[tuple[str, list[float], Row, Row, str | None], ...] = (
        (DEFENSE_GAN, [slow], system.settings | _timed_on(options.gpu), system.weights, options.gpu),
        (DEPLOYED, fast, {"source": deployed.source, "threads": deployed.threads}, {}, None),
    )
    rows = []
    for defense, seconds, settings, weights, gpu in measured:
        result = {"repeats": len(seconds), "seconds": statistics.median(seconds)}
        result |= {"seconds_min": min(seconds), "seconds_max": max(seconds)}
        wanted = common | {"defense": defense, "settings": settings, "weights": weights} | result
        row, _ = measure_once(options.results / TIMING_FILE, wanted, ("dataset", "batch", "defense"), dict, gpu)
        rows.append(row)
        note(f"{dataset.name} batch of {len(images)} / {defense}: {row['seconds']:.4g} s (median of {row['repeats']})")
    return rows


def _timed_on(gpu: str | None) -> Row:
    """What settings say of where a time was measured, which is another time elsewhere; nothing on the CPU."""
    return {"device": gpu} if gpu else {}


def interleave(
    slow: Anytime, fast: Defense, images: Tensor, clock: Clock = time.perf_counter, device: torch.device = CPU
) -> tuple[float, list[float]]:
    """The seconds of a whole run of `slow`, and of a run of `fast` after each of its steps, each without the other.

    `slow` gets the images on `device`, `fast` on the CPU.
    """
    there = images.to(device)
    warm_up(slow, there)
    warm_up(fast, images)
    total, runs = 0.0, []
    for seconds, _ in results_over_time(slow, there, clock):
        total = seconds
        start = clock()
        fast.purify(images)
        runs.append(clock() - start)
    return total, runs


def warm_up(defense: Defense, images: Tensor) -> None:
    """Run once on one image, so that threads, caches and memory are there from now on."""
    next(results_over_time(defense, images[:1]))


def budget_curves(
    cells: Sequence[Cell],
    dataset: Dataset,
    deployed: Deployed,
    defenses: Sequence[str],
    batch: int,
    options: Options,
    note: Note,
) -> list[Row]:
    """Measure Figure 5: accuracy on one mini-batch of attacked images against the seconds spent, for every defense.

    The deployed engine runs on the CPU, the others on the device of `options`; each row says where.
    """
    n = min(batch, len(dataset.test))
    rows = []
    for cell in cells:
        images, labels = cell_images(cell, dataset, n, options)
        classifier = options.folder(dataset.name).classifier(cell.classifier)
        for name in defenses:
            with deployed.open() as engine:
                check_engine(engine, dataset)
                defense, settings = _budget_defense(name, cell, engine, deployed, dataset, options)
                device = CPU if name == DEPLOYED else options.device
                settings |= _timed_on(gpu_name(device))
                wanted = vars(cell) | {"defense": name, "n": n, "seed": options.seed, "settings": settings}
                measure = partial(_measure_curve, defense, images.to(device), labels, classifier)
                row, _ = measure_once(options.results / BUDGET_FILE, wanted, IDENTITY, measure, gpu_name(device))
            rows.append(row)
            note(f"{label(cell)}, {name}: {100 * row['accuracy']:.1f}% after {row['seconds']:.3g} s for {n} images")
    return rows


def _budget_defense(
    name: str, cell: Cell, engine: Purifier, deployed: Deployed, dataset: Dataset, options: Options
) -> tuple[Defense, Row]:
    if name == DEPLOYED:
        return DeployedPuvae(engine), {"source": deployed.source, "threads": deployed.threads}
    if name not in BUDGET_DEFENSES:
        raise ContractError(f"defense {name!r}: budgets are measured for {', '.join(BUDGET_DEFENSES)}")
    known, refine = (PUVAE_OURS, max(1, options.refine)) if name == REFINED else (name, 0)
    folder = options.folder(dataset.name)
    system = build(folder, known, cell.classifier, options.seed, options.search, refine)
    return system.defended.defense, system.settings | {"weights": system.weights}


def _measure_curve(defense: Defense, images: Tensor, labels: Tensor, classifier: Model) -> Row:
    """The curve, and its last point as the row's own accuracy and seconds; the classifier is where the labels are."""
    warm_up(defense, images)
    n, clock = len(labels), clock_of(images.device)
    points = [
        (seconds, int((classify(classifier, best.to(labels.device)) == labels).sum()))
        for seconds, best in results_over_time(defense, images, clock)
    ]
    seconds, hits = points[-1]
    curve = [{"seconds": s, "accuracy": h / n} for s, h in points]
    return accuracy_fields(hits, n) | {"seconds": seconds, "curve": curve}


def results_over_time(
    defense: Defense, images: Tensor, clock: Clock = time.perf_counter
) -> Iterator[tuple[float, Tensor]]:
    """Yield the seconds spent and the best result then; what the caller does in between does not count."""
    steps = defense.anytime(images) if isinstance(defense, Anytime) else iter(map(defense.purify, (images,)))
    spent, start = 0.0, clock()
    for best in steps:
        spent += clock() - start
        yield spent, best
        start = clock()


def _anytime(defense: Defense) -> Anytime:
    if not isinstance(defense, Anytime):
        raise ContractError(f"{type(defense).__name__}: expected an anytime defense")
    return defense


def check_engine(engine: Purifier, dataset: Dataset) -> None:
    """Raise ContractError for an engine that was built for other images or classes."""
    if engine.contract != dataset.contract or len(engine.classes) != len(dataset.classes):
        raise ContractError(
            f"engine {engine.name!r} takes {engine.contract.shape} and {len(engine.classes)} classes, dataset "
            f"{dataset.name!r} has {dataset.contract.shape} and {len(dataset.classes)}; give its own with --bundle"
        )
