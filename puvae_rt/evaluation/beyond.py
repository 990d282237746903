"""Robust accuracy beyond L-infinity: L2, patches, blurs, and natural corruptions: results/beyond.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor

from puvae_rt.attacks.ascent import L2, Perturbation, ascend
from puvae_rt.attacks.constants import SEVERITIES
from puvae_rt.attacks.corruptions import corrupt
from puvae_rt.attacks.non_additive import Blur, Patch
from puvae_rt.contract import ImageContract
from puvae_rt.data import Dataset
from puvae_rt.evaluation.adaptive import CHUNK, Trial, ascent, require_adaptive, trials
from puvae_rt.evaluation.cells import BLUR, CHOICE, PATCH, PGD_EOT, PGD_L2, SHAPES
from puvae_rt.evaluation.effort import Effort
from puvae_rt.evaluation.results import BEYOND_FILE, IDENTITY, Row, measure_once
from puvae_rt.evaluation.run import Note, Options

GRAY_RADII, COLOR_RADII = (1.0, 2.0, 3.0), (0.25, 0.5, 1.0)  # L2: those that others report on MNIST and on CIFAR-10
PATCH_SIDES = (4, 6, 8)  # pixels: 1.6, 3.5 and 6.3% of a 32 x 32 image, 2.0, 4.6 and 8.2% of a 28 x 28 one
BLUR_SIDES = (3, 5, 7)  # pixels
GUIDES = (CHOICE, PGD_EOT)  # objectives that are tried one after the other, where a defense has them
KEY = (*IDENTITY, "size")


def sizes_of(attack: str, contract: ImageContract) -> tuple[float, ...]:
    """The sizes at which a perturbation is tried: L2 radii, sides in pixels, or severities."""
    radii = GRAY_RADII if contract.channels == 1 else COLOR_RADII
    shapes: dict[str, tuple[float, ...]] = {PGD_L2: radii, PATCH: PATCH_SIDES, BLUR: BLUR_SIDES}
    return shapes.get(attack, SEVERITIES)


def evaluate_beyond(
    dataset: Dataset,
    classifiers: Sequence[str],
    defenses: Sequence[str],
    attacks: Sequence[str],
    options: Options,
    note: Note,
    effort: Effort = Effort(),
) -> list[Row]:
    """Measure what is not measured yet, each of `attacks` at each of its sizes, and return its rows.

    Raises:
        ContractError, CheckpointError, ResultsError
    """
    require_adaptive(defenses)
    rows = []
    for trial in trials(dataset, classifiers, defenses, options, effort):
        for attack in attacks:
            for size in sizes_of(attack, dataset.contract):
                tried = {"size": size} | ({"effort": asdict(effort)} if attack in SHAPES else {})
                wanted = trial.wanted(attack, None, tried) | {"size": size}
                attacked = trial.outcomes(attack, partial(_attacked, trial, attack, size))
                measure = partial(trial.measure, wanted, attacked, CHUNK)
                row, _ = measure_once(options.results / BEYOND_FILE, wanted, KEY, measure, options.gpu)
                rows.append(row)
                where = f"{dataset.name} {trial.classifier} {attack} {size:g} / {trial.defense}"
                note(f"{where}: {100 * row['accuracy']:.1f}% of {row['n']}")
    return rows


def _attacked(trial: Trial, attack: str, size: float, x: Tensor, y: Tensor) -> Tensor:
    """The images after an attack by every objective in turn, or after a corruption."""
    if attack not in SHAPES:
        return torch.from_numpy(corrupt(x.cpu().numpy(), attack, int(size), trial.options.seed)).to(x.device)
    target, attacked = trial.target, x.clone()
    for guide in GUIDES:
        todo = (target.judge(attacked) == y).nonzero().squeeze(1)
        if guide in target.objectives and len(todo):
            shape = _shape(attack, size)(x[todo])
            attacked[todo] = ascend(target.objectives[guide], target.judge, x[todo], y[todo], shape, ascent(trial))
    return attacked


def _shape(attack: str, size: float) -> Callable[[Tensor], Perturbation]:
    if attack == PGD_L2:
        return lambda x: L2(x, size)
    return lambda x: Patch(x, int(size)) if attack == PATCH else Blur(x, int(size))
