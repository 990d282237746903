"""Certified L2 radii by randomized smoothing (Cohen et al. 2019, arXiv 1902.02918): results/certificate.json.

The smoothed classifier answers the class that the defended one gives to most noisy copies of an image. Where a share p
of them agrees, no perturbation of an L2 norm below sigma * Phi^-1(p) changes that answer: a proof, not an attack, up to
the chance `Smoothing.alpha` that the sample deceives. Unlike the tables' other columns it says nothing of one pass: it
takes as many as there are copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from statistics import NormalDist

import torch
from scipy.stats import beta
from torch import Tensor

from puvae_rt.data import Dataset
from puvae_rt.evaluation.adaptive import Trial, require_adaptive, trials
from puvae_rt.evaluation.cells import PUVAE_OURS
from puvae_rt.evaluation.conditions import behind, open_engine
from puvae_rt.evaluation.effort import Effort, Smoothing
from puvae_rt.evaluation.results import CERTIFICATE_FILE, Row, measure_once
from puvae_rt.evaluation.robust_tables import CERTIFIED_RADII, certified_share
from puvae_rt.evaluation.run import Note, Options
from puvae_rt.evaluation.timing import Deployed
from puvae_rt.training.device import clock_of

KEY = ("dataset", "classifier", "defense", "sigma", "copies")
CHUNK = 250  # noisy copies that are classified together


def certified_radius(agreeing: int, copies: int, sigma: float, alpha: float) -> float:
    """The L2 radius that is certified where `agreeing` of `copies` noisy copies have the class; 0 where none is.

    The share is at least Clopper and Pearson's one-sided lower bound with a confidence of 1 - alpha.
    """
    low = float(beta.ppf(alpha, agreeing, copies - agreeing + 1)) if agreeing else 0.0
    return sigma * NormalDist().inv_cdf(low) if low > 0.5 else 0.0


def certify(
    answer: Callable[[Tensor], Tensor], image: Tensor, smoothing: Smoothing, sigma: float, generator: torch.Generator
) -> tuple[int, float]:
    """The smoothed class of an image [C,H,W], and the L2 radius within which it is certified; 0 is to abstain.

    Args:
        answer: images [N,C,H,W] in [0,1] -> logits [N,K].
        image: in [0,1].
        smoothing: how many copies choose the class, how many others bound its share.
        sigma: standard deviation of the Gaussian noise; noisy copies are clipped to [0,1].
        generator: of the noise, on the CPU.
    """
    first = _votes(answer, image, smoothing.choosing, sigma, generator)
    chosen = int(first.argmax())
    agreeing = int(_votes(answer, image, smoothing.copies, sigma, generator)[chosen])
    return chosen, certified_radius(agreeing, smoothing.copies, sigma, smoothing.alpha)


@torch.no_grad()
def _votes(
    answer: Callable[[Tensor], Tensor], image: Tensor, copies: int, sigma: float, generator: torch.Generator
) -> Tensor:
    """How many noisy copies of the image are given each class, [K]."""
    votes = torch.zeros(0, dtype=torch.long)
    for start in range(0, copies, CHUNK):
        noise = torch.randn((min(CHUNK, copies - start), *image.shape), generator=generator).to(image.device)
        logits = answer((image + sigma * noise).clamp(0, 1))
        counts = torch.bincount(logits.argmax(dim=1).cpu(), minlength=logits.shape[1])
        votes = votes + counts if len(votes) else counts
    return votes


def evaluate_certificate(
    dataset: Dataset,
    classifiers: Sequence[str],
    defenses: Sequence[str],
    deployed: Deployed | None,
    smoothing: Smoothing,
    options: Options,
    note: Note,
) -> list[Row]:
    """Measure what is not measured yet and return its rows, one for each standard deviation of the noise.

    PuVAE (ours) is the engine `deployed`, if there is one: its pass is that of the PyTorch form, and faster.

    Raises:
        ContractError, CheckpointError, ResultsError
    """
    require_adaptive(defenses)
    rows = []
    with ExitStack() as stack:
        engine = open_engine(deployed, dataset, stack) if deployed and PUVAE_OURS in defenses else None
        for trial in trials(dataset, classifiers, defenses, options, Effort()):
            through = engine if trial.defense == PUVAE_OURS else None
            answer = partial(behind, through.purifier, trial) if through else trial.system.defended
            for sigma in smoothing.sigmas:
                wanted: Row = {"dataset": dataset.name, "classifier": trial.classifier, "defense": trial.defense}
                wanted |= {"sigma": sigma, "n": len(trial.images), "seed": options.seed}
                wanted |= {name: value for name, value in asdict(smoothing).items() if name != "sigmas"}
                wanted |= {"weights": trial.system.weights}
                wanted |= {"settings": trial.system.settings | (through.source if through else {})}
                measure = partial(_measure, trial, answer, smoothing, sigma)
                row, _ = measure_once(options.results / CERTIFICATE_FILE, wanted, KEY, measure, options.gpu)
                rows.append(row)
                note(_told(row))
    return rows


def _measure(trial: Trial, answer: Callable[[Tensor], Tensor], smoothing: Smoothing, sigma: float) -> Row:
    clock = clock_of(trial.options.device)
    start = clock()
    generator = torch.Generator().manual_seed(trial.options.seed)
    found = [certify(answer, image, smoothing, sigma, generator) for image in trial.images]
    right = [chosen == label for (chosen, _), label in zip(found, trial.labels.tolist(), strict=True)]
    radii = [round(radius, 4) if correct else 0.0 for (_, radius), correct in zip(found, right, strict=True)]
    abstained = sum(radius == 0 for _, radius in found)
    return {"radii": radii, "abstained": abstained, "seconds": clock() - start}


def _told(row: Row) -> str:
    shares = ", ".join(f"{radius:g}: {100 * certified_share(row, radius):.0f}%" for radius in CERTIFIED_RADII)
    system = f"{row['dataset']} {row['classifier']} / {row['defense']}, sigma {row['sigma']:g}"
    return f"{system}: certified above an L2 radius of {shares}; abstained on {row['abstained']} of {row['n']}"
