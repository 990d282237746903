"""Robust accuracy under attacks that know the defense, over a range of epsilon: results/adaptive.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

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
    through_soft_choice,
)
from puvae_rt.attacks.checks import flags
from puvae_rt.attacks.radii import check_epsilon, radii_of
from puvae_rt.attacks.standard import CLEAN, Standard, StandardAttack
from puvae_rt.attacks.toolbox import auto_attack_rand, square
from puvae_rt.attacks.white_box import Model
from puvae_rt.contract import ImageContract
from puvae_rt.data import Dataset
from puvae_rt.defenses.magnet import MagNet
from puvae_rt.errors import ContractError
from puvae_rt.evaluation.cells import (
    ADAPTIVE_DEFENSES,
    AUTO_ATTACK,
    AUTO_RAND,
    BPDA,
    CHOICE,
    NONE,
    PGD_EOT,
    PRIOR,
    SOFT_CHOICE,
    SQUARE,
    WORST,
)
from puvae_rt.evaluation.effort import Effort
from puvae_rt.evaluation.models import SIGMA_EPS, Folder, System, build
from puvae_rt.evaluation.outcomes import (
    Attack,
    attack_in_turn,
    broken_by,
    devices_of,
    outcome_fields,
    outcome_file,
    standing_of,
)
from puvae_rt.evaluation.results import ADAPTIVE_FILE, IDENTITY, Row, measure_once
from puvae_rt.evaluation.run import Note, Options
from puvae_rt.models.prior import Prior
from puvae_rt.training.device import clock_of

EPSILON_SHARES = (1 / 6, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3)  # of the paper's radius
# Beside them on color images: the radius that others report, and two at which nothing may be left of a sound defense.
COLOR_EPSILONS = (8 / 255, 0.25, 0.5)
SAMPLES = 10  # gradients averaged for a defense that draws noise (EOT)
CHUNK = 50  # images attacked together
ANY_MODEL = (AUTO_RAND, AUTO_ATTACK, SQUARE)  # attacks that ask for no objective of ours


@dataclass(frozen=True)
class Target:
    """A defended classifier as the adaptive attacks see it: differentiable, its forward pass what is deployed.

    Attributes:
        model: images -> logits.
        objectives: of the attacks by projected gradient ascent that make sense here.
        samples: gradients to average.
        exact: `model` with the gradient that the deployed system has, without what helps an attacker.
    """

    model: Model
    objectives: dict[str, Objective]
    samples: int = 1
    exact: Model | None = None

    @torch.no_grad()
    def judge(self, x: Tensor) -> Tensor:
        """The classes [N] that the defended classifier answers for images x [N,C,H,W]."""
        return self.model(x).argmax(dim=1)


class Trial(NamedTuple):
    """A defended classifier, the images that it is tried on, and how hard."""

    dataset: Dataset
    classifier: str
    defense: str
    system: System
    target: Target
    images: Tensor
    labels: Tensor
    options: Options
    effort: Effort

    def wanted(self, attack: str, epsilon: float | None, tried: Row) -> Row:
        """Everything that decides the number of a row; `tried` is how the attack was made."""
        return {
            "dataset": self.dataset.name,
            "classifier": self.classifier,
            "attack": attack,
            "targeted": False,
            "epsilon": epsilon,
            "defense": self.defense,
            "n": len(self.images),
            "seed": self.options.seed,
            "weights": self.system.weights,
            "settings": self.system.settings | tried,
        }

    def measure(self, wanted: Row, attack: Attack, chunk: int) -> Row:
        """The measured fields of a row: every image attacked in its turn, unless its outcome is known."""
        path, settings = outcome_file(self.options.models, wanted)
        clock = clock_of(self.options.device)
        outcomes = attack_in_turn(path, settings, self.images, self.labels, chunk, attack, clock, self.options.gpu)
        standing = torch.tensor([not outcome.broken_by for outcome in outcomes])
        fields = outcome_fields(standing, self.images, self.labels) | {"broken_by": broken_by(outcomes)}
        fields |= {"devices": devices} if (devices := devices_of(outcomes)) else {}
        return fields | {"seconds": sum(outcome.seconds for outcome in outcomes)}

    def outcomes(self, attack: str, attacked: Callable[[Tensor, Tensor], Tensor]) -> Attack:
        """An attack of whole chunks, `attacked`, by what it breaks."""

        def broken(x: Tensor, y: Tensor) -> list[str]:
            clean, after = self.target.judge(x) != y, self.target.judge(attacked(x, y)) != y
            pairs = zip(clean.tolist(), after.tolist(), strict=True)
            return [CLEAN if already else attack if now else "" for already, now in pairs]

        return broken


def trials(
    dataset: Dataset, classifiers: Sequence[str], defenses: Sequence[str], options: Options, effort: Effort
) -> Iterator[Trial]:
    """Yield every classifier behind every defense. Raises ContractError and CheckpointError."""
    folder = options.folder(dataset.name)
    for classifier, defense in product(classifiers, defenses):
        system = build(folder, defense, classifier, options.seed, options.search, refine=0)
        n = options.images(defense, len(dataset.test))
        images, labels = (torch.from_numpy(part).to(options.device) for part in dataset.test.batch(slice(0, n)))
        target = target_of(folder, system, defense)
        yield Trial(dataset, classifier, defense, system, target, images, labels, options, effort)


def default_epsilons(contract: ImageContract) -> list[float]:
    """The epsilons at which these images are attacked: shares of the paper's radius, and on color images some more."""
    shares = [round(share * radii_of(contract).epsilon, 4) for share in EPSILON_SHARES]
    return shares if contract.channels == 1 else sorted([*shares, *COLOR_EPSILONS])


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
    """Measure what is not measured yet and return its rows: without an attack, then at each epsilon.

    Raises:
        ContractError, CheckpointError, ResultsError, TargetUnavailableError
    """
    require_adaptive(defenses)
    for epsilon in epsilons:
        check_epsilon(epsilon)
    rows = []
    for trial in trials(dataset, classifiers, defenses, options, effort):
        for row in _rows(trial, attacks, epsilons, note):
            rows.append(row)
            where = f"{dataset.name} {trial.classifier} {row['attack']} {row['epsilon']:g} / {trial.defense}"
            note(f"{where}: {100 * row['accuracy']:.1f}% of {row['n']}")
    return rows


def require_adaptive(defenses: Sequence[str]) -> None:
    """Raise ContractError for a defense that cannot be differentiated or asked often enough."""
    if unknown := sorted(set(defenses) - set(ADAPTIVE_DEFENSES)):
        raise ContractError(f"defense {unknown[0]!r}: adaptive attacks are measured on {', '.join(ADAPTIVE_DEFENSES)}")


def _rows(trial: Trial, attacks: Sequence[str], epsilons: Sequence[float], note: Note) -> Iterator[Row]:
    """The row without an attack, then one for each attack at each epsilon, and "worst" over all of them."""
    path, gpu = trial.options.results / ADAPTIVE_FILE, trial.options.gpu
    clean = partial(trial.measure, chunk=CHUNK, attack=trial.outcomes(NONE, lambda x, _: x))
    wanted = trial.wanted(NONE, 0.0, {})
    undisturbed, _ = measure_once(path, wanted, IDENTITY, lambda: clean(wanted), gpu)
    yield undisturbed
    usable = [attack for attack in attacks if attack in trial.target.objectives or attack in ANY_MODEL]
    for epsilon in epsilons:
        standing = standing_of(undisturbed)
        for attack in usable:
            tried = asdict(_standard(trial)) if attack == AUTO_ATTACK else asdict(trial.effort)
            wanted = trial.wanted(attack, epsilon, {"effort": tried})
            measure = partial(_measure, trial, wanted, attack, epsilon, note)
            row, _ = measure_once(path, wanted, IDENTITY, measure, gpu)
            standing &= standing_of(row)
            yield row
        wanted = trial.wanted(WORST, epsilon, {"effort": asdict(trial.effort), "attacks": usable})
        fields = outcome_fields(standing, trial.images, trial.labels) | {"seconds": 0.0}
        row, _ = measure_once(path, wanted, IDENTITY, partial(dict, fields), gpu)
        yield row


def _measure(trial: Trial, wanted: Row, attack: str, epsilon: float, note: Note) -> Row:
    """The measured fields of one attack's row."""
    if attack != AUTO_ATTACK:
        return trial.measure(wanted, trial.outcomes(attack, partial(_attacked, trial, attack, epsilon)), CHUNK)
    classes, device = len(trial.dataset.classes), trial.images.device
    standard = StandardAttack(trial.target.model, epsilon, classes, _standard(trial), device)
    fields = trial.measure(wanted, lambda x, y: [standard(x, y)], chunk=1)
    warnings = [*standard.warnings, *flags(trial.target.model, trial.images[:CHUNK], trial.labels[:CHUNK])]
    for warning in warnings:
        note(f"AutoAttack: {warning}")
    return fields | {"warnings": warnings}


def _standard(trial: Trial) -> Standard:
    return Standard(seed=trial.options.seed)


def _attacked(trial: Trial, attack: str, epsilon: float, x: Tensor, y: Tensor) -> Tensor:
    """The attacked images."""
    target, effort, classes = trial.target, trial.effort, len(trial.dataset.classes)
    if attack == SQUARE:
        return square(target.model, x, y, epsilon, classes, effort.queries)
    if attack == AUTO_RAND:
        return auto_attack_rand(target.model, x, y, epsilon, classes, effort.apgd_steps, target.samples)
    return pgd(target.objectives[attack], target.judge, x, y, epsilon, ascent(trial))


def ascent(trial: Trial) -> Pgd:
    """How an attack by gradient ascent goes on this trial."""
    effort = trial.effort
    return Pgd(effort.pgd_steps, restarts=effort.restarts, samples=trial.target.samples, seed=trial.options.seed)


def _unlikeliness(prior: Prior, x: Tensor) -> Tensor:
    """The scores [N,K] by which the prior alone would choose."""
    return -prior.log_probabilities(x)


def target_of(folder: Folder, system: System, defense: str) -> Target:
    """The differentiable form of a defended classifier."""
    wrapped, classifier = system.defended.defense, system.defended.classifier
    if defense in SIGMA_EPS:
        selector, _ = folder.selector(defense)
        pipeline = PuvaePipeline(
            selector.vae,
            classifier,
            selector.score,
            SIGMA_EPS[defense],
            prior=selector.prior,
            shortlist=selector.shortlist,
        )
        objectives = {
            CHOICE: through_choice(pipeline.scores),
            SOFT_CHOICE: through_soft_choice(pipeline.scores, pipeline.temperature),
            BPDA: through_identity(pipeline.purify, classifier),
            PGD_EOT: through_classification(pipeline),
        }
        if selector.prior is not None:  # a class that it ranks low is not decoded
            objectives[PRIOR] = through_choice(partial(_unlikeliness, selector.prior))
        samples = SAMPLES if SIGMA_EPS[defense] else 1
        return Target(pipeline, objectives, samples, lambda x: classifier(pipeline.choose(x)))
    if isinstance(wrapped, MagNet):
        reformer = wrapped.reformer

        def reformed(x: Tensor) -> Tensor:
            return classifier(reformer(x))

        bpda = through_identity(wrapped.purify, classifier)
        return Target(reformed, {BPDA: bpda, PGD_EOT: through_classification(reformed)})
    return Target(classifier, {PGD_EOT: through_classification(classifier)})
