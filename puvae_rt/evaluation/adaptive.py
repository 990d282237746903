"""Robust accuracy under attacks that know the defense, over a range of epsilon: results/adaptive.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from puvae_rt.attacks.adaptive import (
    Objective,
    Pgd,
    PuvaePipeline,
    pgd,
    through_choice,
    through_classification,
    through_identity,
)
from puvae_rt.attacks.radii import check_epsilon, radii_of
from puvae_rt.attacks.toolbox import auto_attack_rand, square
from puvae_rt.attacks.white_box import Model
from puvae_rt.contract import ImageContract
from puvae_rt.data import Dataset
from puvae_rt.defenses.magnet import MagNet
from puvae_rt.errors import ContractError
from puvae_rt.evaluation.cells import (
    ADAPTIVE_DEFENSES,
    AUTO_RAND,
    BPDA,
    CHOICE,
    PGD_EOT,
    PUVAE_OURS,
    PUVAE_PAPER,
    SQUARE,
    WORST,
)
from puvae_rt.evaluation.effort import Effort
from puvae_rt.evaluation.models import SIGMA_EPS, Folder, System, build
from puvae_rt.evaluation.results import ADAPTIVE_FILE, Row, accuracy_fields, measure_once
from puvae_rt.evaluation.run import IDENTITY, Note, Options

EPSILON_SHARES = (1 / 6, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3)  # of the paper's radius
SAMPLES = 10  # gradients averaged for a defense that draws noise (EOT)
CHUNK = 50  # images attacked together


@dataclass(frozen=True)
class Target:
    """A defended classifier as the adaptive attacks see it: differentiable, its forward pass what is deployed."""

    model: Model
    objectives: dict[str, Objective]  # of the attacks by projected gradient ascent that make sense here
    samples: int = 1

    @torch.no_grad()
    def judge(self, x: Tensor) -> Tensor:
        """The classes [N] that the defended classifier answers for images x [N,C,H,W]."""
        return self.model(x).argmax(dim=1)


def default_epsilons(contract: ImageContract) -> list[float]:
    """The epsilons at which these images are attacked: shares of the paper's radius for them."""
    return [round(share * radii_of(contract).epsilon, 4) for share in EPSILON_SHARES]


def evaluate_adaptive(
    dataset: Dataset,
    classifiers: Sequence[str],
    defenses: Sequence[str],
    attacks: Sequence[str],
    epsilons: Sequence[float],
    options: Options,
    note: Note,
    effort: Effort = Effort(),
) -> list[Row]:
    """Measure what is not measured yet and return its rows.

    Raises:
        ContractError, CheckpointError, ResultsError
    """
    if unknown := sorted(set(defenses) - set(ADAPTIVE_DEFENSES)):
        raise ContractError(f"defense {unknown[0]!r}: adaptive attacks are measured on {', '.join(ADAPTIVE_DEFENSES)}")
    for epsilon in epsilons:
        check_epsilon(epsilon)
    folder, rows = options.folder(dataset.name), []
    for classifier, defense in product(classifiers, defenses):
        system = build(folder, defense, classifier, options.seed, options.search, refine=0)
        target = target_of(folder, system, defense)
        for epsilon in epsilons:
            for row in _one_epsilon(dataset, classifier, defense, system, target, attacks, epsilon, options, effort):
                rows.append(row)
                where = f"{dataset.name} {classifier} {row['attack']} {epsilon:g} / {defense}"
                note(f"{where}: {100 * row['accuracy']:.1f}% of {row['n']}")
    return rows


def _one_epsilon(
    dataset: Dataset,
    classifier: str,
    defense: str,
    system: System,
    target: Target,
    attacks: Sequence[str],
    epsilon: float,
    options: Options,
    effort: Effort,
) -> Iterator[Row]:
    """A row for each attack, then "worst" over all of them."""
    n = options.images(defense, len(dataset.test))
    images, labels = (torch.from_numpy(part) for part in dataset.test.batch(slice(0, n)))
    common = {"dataset": dataset.name, "classifier": classifier, "targeted": False, "epsilon": epsilon}
    common |= {"defense": defense, "n": n, "seed": options.seed, "weights": system.weights}
    usable = [a for a in attacks if a in target.objectives or a in (AUTO_RAND, SQUARE)]
    standing = torch.ones(n, dtype=torch.bool)
    for attack in (*usable, WORST):
        tried = {"effort": asdict(effort)} | ({"attacks": usable} if attack == WORST else {})
        wanted = common | {"attack": attack, "settings": system.settings | tried}
        if attack == WORST:
            measure = partial(_stand, standing.clone)
        else:
            run = partial(_attack, target, attack, images, labels, epsilon, dataset, options.seed, effort)
            measure = partial(_stand, run)
        row, _ = measure_once(options.results / ADAPTIVE_FILE, wanted, IDENTITY, measure)
        standing &= torch.tensor([s == "1" for s in row["standing"]])
        yield row


def _stand(run: Callable[[], Tensor]) -> Row:
    start = time.perf_counter()
    standing = run()
    marks = "".join("1" if s else "0" for s in standing.tolist())  # image by image, for "worst"
    fields = accuracy_fields(int(standing.sum()), len(standing))
    return fields | {"standing": marks, "seconds": time.perf_counter() - start}


def _attack(
    target: Target,
    attack: str,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    dataset: Dataset,
    seed: int,
    effort: Effort,
) -> Tensor:
    """Which images the defended classifier still gets right, [N]."""
    classes, standing = len(dataset.classes), []
    settings = Pgd(effort.pgd_steps, restarts=effort.restarts, samples=target.samples, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for x, y in zip(torch.split(images, CHUNK), torch.split(labels, CHUNK), strict=True):
            if attack == SQUARE:
                attacked = square(target.model, x, y, epsilon, classes, effort.queries)
            elif attack == AUTO_RAND:
                attacked = auto_attack_rand(target.model, x, y, epsilon, classes, effort.apgd_steps, target.samples)
            else:
                attacked = pgd(target.objectives[attack], target.judge, x, y, epsilon, settings)
            standing.append((target.judge(x) == y) & (target.judge(attacked) == y))
    return torch.cat(standing)


def target_of(folder: Folder, system: System, defense: str) -> Target:
    """The differentiable form of a defended classifier."""
    wrapped, classifier = system.defended.defense, system.defended.classifier
    if defense in (PUVAE_PAPER, PUVAE_OURS):
        model, score, _ = folder.puvae(defense)
        pipeline = PuvaePipeline(model, classifier, score, SIGMA_EPS[defense])
        objectives = {
            PGD_EOT: through_classification(pipeline),
            BPDA: through_identity(pipeline.purify, classifier),
            CHOICE: through_choice(pipeline),
        }
        return Target(pipeline, objectives, SAMPLES if SIGMA_EPS[defense] else 1)
    if isinstance(wrapped, MagNet):
        reformer = wrapped.reformer

        def reformed(x: Tensor) -> Tensor:
            return classifier(reformer(x))

        bpda = through_identity(wrapped.purify, classifier)
        return Target(reformed, {PGD_EOT: through_classification(reformed), BPDA: bpda})
    return Target(classifier, {PGD_EOT: through_classification(classifier)})
