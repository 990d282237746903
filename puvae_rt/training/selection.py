"""How well a projection picks the class: what trainings and the coefficient search are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from puvae_rt.attacks.radii import radii_of
from puvae_rt.attacks.white_box import fgsm, ifgsm, random_targets
from puvae_rt.contract import Score
from puvae_rt.data import Dataset, Split
from puvae_rt.models.puvae import PuVAE
from puvae_rt.models.score import add_kl, dead_zone_sse, selection_scores
from puvae_rt.training.device import device_of
from puvae_rt.training.recipes import attack_scale

CHUNK = 250  # images at a time

# The search of tau and lambda (DESIGN, "Selection score"): random sign noise only, never an attack.
TAUS = (0.0, 0.05, 0.1, 0.2, 0.3)
KL_WEIGHTS = (0.0, 0.1, 0.3)
NOISE_LEVELS = (0.0, 0.3, 0.45, 0.6)
KL_GAIN = 0.005  # by which a KL term has to be better: it keeps sigma, and a kernel, in every engine


@torch.no_grad()
def choose(model: PuVAE, x: Tensor, score: Score) -> Tensor:
    """The class [N], on the CPU, of the winning projection of each of the images x [N,C,H,W] in [0,1]."""
    parts = [part.to(device_of(model)) for part in torch.split(x, CHUNK)]
    return torch.cat([selection_scores(part, *model.project(part), score).argmin(dim=1).cpu() for part in parts])


@torch.no_grad()
def score_accuracies(model: PuVAE, x: Tensor, labels: Tensor, scores: Sequence[Score]) -> list[float]:
    """For each score, the share of images [N,C,H,W] whose winning projection is of their class; projects once."""
    hits, device = [0] * len(scores), device_of(model)
    for part, truth in zip(torch.split(x, CHUNK), torch.split(labels, CHUNK), strict=True):
        part, truth = part.to(device), truth.to(device)
        candidates, kl = model.project(part)
        distances = {tau: dead_zone_sse(part[:, None], candidates, tau) for tau in {score.tau for score in scores}}
        for place, score in enumerate(scores):
            chosen = add_kl(distances[score.tau], kl, score).argmin(dim=1)
            hits[place] += int((chosen == truth).sum())
    return [count / len(labels) for count in hits]


def tune_score(model: PuVAE, split: Split, seed: int = 0) -> tuple[Score, list[dict[str, float]]]:
    """The score that chooses best under random sign noise, and the whole table of accuracies.

    Among equals the smallest tau; lambda > 0 only when it gains `KL_GAIN`.
    """
    images, labels = (torch.from_numpy(part) for part in split.batch(slice(None)))
    generator = torch.Generator().manual_seed(seed)
    scale = attack_scale(model.contract)
    scores = [Score(scale * tau, weight) for tau, weight in product(TAUS, KL_WEIGHTS)]
    columns = []
    for level in NOISE_LEVELS:
        noise = torch.randn(images.shape, generator=generator).sign()
        columns.append(score_accuracies(model, (images + scale * level * noise).clamp(0, 1), labels, scores))
    accuracies = torch.tensor(columns).T  # [scores, levels]
    table = [
        {"tau": s.tau, "kl_weight": s.kl_weight}
        | {f"noise_{level:g}": value for level, value in zip(NOISE_LEVELS, row.tolist(), strict=True)}
        for s, row in zip(scores, accuracies, strict=True)
    ]
    costs = torch.tensor([KL_GAIN if score.kl_weight else 0.0 for score in scores])
    return scores[int((accuracies.mean(dim=1) - costs).argmax())], table


def projection_accuracy(model: PuVAE, split: Split, score: Score) -> float:
    """Share of images whose winning projection is of their class."""
    images, labels = split.batch(slice(None))
    return float((choose(model, torch.from_numpy(images), score).numpy() == labels).mean())


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Share of images that a classifier gets right."""
    images, labels = split.batch(slice(None))
    parts = torch.split(torch.from_numpy(images), CHUNK)
    logits = torch.cat([model(part.to(device_of(model))).cpu() for part in parts])
    return float((logits.argmax(dim=1).numpy() == labels).mean())


def validation_inputs(dataset: Dataset, source: nn.Module, images: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Clean, noisy and attacked validation images by name, and their labels, on the CPU; attacked where `source` is."""
    x, y = (torch.from_numpy(part) for part in dataset.validation.batch(slice(0, images)))
    generator = torch.Generator().manual_seed(seed)
    epsilon = radii_of(dataset.contract).epsilon
    targets = random_targets(y, len(dataset.classes), generator)
    noise = torch.randn(x.shape, generator=generator).sign()
    device = device_of(source)
    there = x.to(device), targets.to(device)
    return {
        "clean": x,
        "noise": (x + epsilon * noise).clamp(0, 1),
        "fgsm": fgsm(source, *there, epsilon, targeted=True).cpu(),
        "ifgsm": ifgsm(source, *there, epsilon, targeted=True).cpu(),
    }, y


def accuracies(
    model: PuVAE, inputs: dict[str, Tensor], labels: Tensor, scores: dict[str, Score]
) -> dict[str, dict[str, float]]:
    """Share of images whose projection of the right class is chosen, by score and kind of input."""
    by_kind = {kind: score_accuracies(model, x, labels, list(scores.values())) for kind, x in inputs.items()}
    return {name: {kind: by_kind[kind][place] for kind in inputs} for place, name in enumerate(scores)}


def accuracy_table(first: str, rows: Iterable[tuple[str, dict[str, float]]]) -> str:
    """A Markdown table of (name, accuracy by kind of input) in %; `first` heads the names."""
    lines = [f"| {first} | clean | noise | FGSM on M_s | iFGSM on M_s |", f"|{' --- |' * (first.count('|') + 5)}"]
    for name, accuracy in rows:
        cells = " | ".join(f"{100 * accuracy[kind]:.1f}" for kind in ("clean", "noise", "fgsm", "ifgsm"))
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)
