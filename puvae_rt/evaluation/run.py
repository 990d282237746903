"""Tables 2 to 4: every cell measured on the same attacked images; finished cells are kept and skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from puvae_rt.attacks.radii import radii_of
from puvae_rt.data import Dataset
from puvae_rt.defenses.gan_search import Search
from puvae_rt.evaluation.attacked import attacked_images
from puvae_rt.evaluation.cells import DEFENSE_GAN, Cell
from puvae_rt.evaluation.effort import DEFENSE_GAN_IMAGES, IMAGES
from puvae_rt.evaluation.models import Folder, System, build
from puvae_rt.evaluation.outcomes import outcome_fields
from puvae_rt.evaluation.results import BASELINES, DEFENSE_FILE, IDENTITY, Row, measure_once
from puvae_rt.training.device import CPU, clock_of, gpu_name

Note = Callable[[str], None]


class Options(NamedTuple):
    """How cells are measured."""

    models: Path  # folder of the artefacts
    results: Path  # folder of the results
    n: int = IMAGES  # test images
    n_defense_gan: int = DEFENSE_GAN_IMAGES
    seed: int = 0
    search: Search = Search()
    refine: int = 0
    baselines: Path = BASELINES  # where those are that `models` lacks
    device: torch.device = CPU  # where PyTorch computes

    @property
    def gpu(self) -> str | None:
        """The name of the GPU that PyTorch computes on, if it does."""
        return gpu_name(self.device)

    def folder(self, dataset: str) -> Folder:
        """The trained systems of a dataset."""
        return Folder(self.models, dataset, self.baselines, self.device)

    def images(self, defense: str, available: int) -> int:
        """How many of the `available` test images a defense is measured on."""
        return min(available, self.n_defense_gan if defense == DEFENSE_GAN else self.n)


def evaluate(cells: Iterable[Cell], dataset: Dataset, options: Options, note: Note = lambda _: None) -> list[Row]:
    """Measure what is not measured yet, one row of results/defense.json after the other, and return all rows.

    Args:
        cells: what to measure.
        dataset: whose test images are used.
        options: where weights and results are, and how many images.
        note: told of each cell in a line.
    Raises:
        CheckpointError, ResultsError
    """
    folder, rows = options.folder(dataset.name), []
    for cell in cells:
        system = build(folder, cell.defense, cell.classifier, options.seed, options.search, options.refine)
        n = options.images(cell.defense, len(dataset.test))
        wanted = describe(cell, system, n, options.seed)
        measure = partial(_measure, cell, system, dataset, n, options)
        row, stored = measure_once(options.results / DEFENSE_FILE, wanted, IDENTITY, measure, options.gpu)
        rows.append(row)
        note(f"{label(cell)}: {100 * row['accuracy']:.1f}% of {n}{' (stored)' if stored else ''}")
    return rows


def describe(cell: Cell, system: System, n: int, seed: int) -> Row:
    """Everything that decides a cell's number."""
    return vars(cell) | {"n": n, "seed": seed, "settings": system.settings, "weights": system.weights}


def _measure(cell: Cell, system: System, dataset: Dataset, n: int, options: Options) -> Row:
    """Accuracy with its interval, image by image as well, and the seconds that purifying and classifying took."""
    images, labels = cell_images(cell, dataset, n, options)
    clock = clock_of(options.device)
    start = clock()
    standing = system.defended.classify(images) == labels
    seconds = clock() - start
    clean = torch.from_numpy(dataset.test.batch(slice(0, n))[0])
    return outcome_fields(standing, clean, labels) | {"seconds": seconds}


def cell_images(cell: Cell, dataset: Dataset, n: int, options: Options) -> tuple[Tensor, Tensor]:
    """The attacked images of a cell and their true labels, on the device of `options`."""
    folder = options.folder(dataset.name)
    images = attacked_images(
        cell,
        n,
        dataset.test,
        len(dataset.classes),
        radii_of(dataset.contract).alpha,
        folder.victim(cell.classifier),
        options.seed,
        options.models,
        options.device,
    )
    return images, torch.from_numpy(dataset.test.labels[:n]).to(options.device)


def label(cell: Cell) -> str:
    """A cell in a few words, for progress lines."""
    aim = " targeted" if cell.targeted else ""
    bound = f" {cell.epsilon:g}" if cell.epsilon else ""
    return f"{cell.dataset} {cell.classifier} {cell.attack}{bound}{aim} / {cell.defense}"
