"""What can be measured: a cell is one number of the paper's Tables 2 to 4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from puvae_rt._moved import renamed
from puvae_rt.attacks.constants import CORRUPTION_NAMES
from puvae_rt.attacks.radii import check_epsilon, radii_of
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.models.spec import ARCHITECTURES

NONE = "none"  # no attack, or no defense
FGSM, IFGSM, RAND_FGSM, CW = "fgsm", "ifgsm", "rand_fgsm", "cw"
ATTACKS = (NONE, FGSM, IFGSM, RAND_FGSM, CW)
THRESHOLD, BIT_DEPTH, JPEG, MEDIAN = "threshold", "bit_depth", "jpeg", "median"
TRIVIAL_DEFENSES = (THRESHOLD, BIT_DEPTH, JPEG, MEDIAN)  # a line of arithmetic each, nothing learned
ADV_TRAINING, PGD_TRAINING = "adv_training", "pgd_training"  # FGSM of the classifier that is attacked; PGD of its own
TRAINED_CLASSIFIERS = (ADV_TRAINING, PGD_TRAINING)  # another classifier, with nothing in front of it
MAGNET, DEFENSE_GAN = "magnet", "defense_gan"
PUVAE_PAPER, PUVAE_OURS = "puvae_paper", "puvae_ours"
PUVAE_RMSE, PRIOR_ONLY = "puvae_ours_rmse", "prior_only"  # ours without its prior, and the prior as a classifier
DEFENSES = (
    *(NONE, *TRIVIAL_DEFENSES, *TRAINED_CLASSIFIERS, MAGNET, DEFENSE_GAN),
    *(PUVAE_PAPER, PUVAE_RMSE, PRIOR_ONLY, PUVAE_OURS),
)

# Attacks that know the defense, the strongest on PuVAE first, and who can be asked often enough for them (Defense-GAN
# takes seconds a query).
CHOICE, SOFT_CHOICE, PRIOR, BPDA, PGD_EOT = "choice", "soft_choice", "prior", "bpda", "pgd_eot"
AUTO_RAND, AUTO_ATTACK, SQUARE = "auto_rand", "auto_attack", "square"
ADAPTIVE_ATTACKS = (CHOICE, SOFT_CHOICE, PRIOR, BPDA, PGD_EOT, AUTO_RAND, AUTO_ATTACK, SQUARE)
USUAL_ATTACKS = tuple(attack for attack in ADAPTIVE_ATTACKS if attack != AUTO_ATTACK)  # it takes hours, and a library
WORST = "worst"  # an image counts when it stands against every adaptive attack that was run
ADAPTIVE_DEFENSES = (NONE, *TRAINED_CLASSIFIERS, MAGNET, PUVAE_PAPER, PUVAE_RMSE, PRIOR_ONLY, PUVAE_OURS)
# Perturbations beyond L-infinity: those that are attacks, and those that happen.
PGD_L2, PATCH, BLUR = "pgd_l2", "patch", "blur"
SHAPES = (PGD_L2, PATCH, BLUR)
BEYOND = (*SHAPES, *CORRUPTION_NAMES)
# What is timed: PuVAE as the deployed engine, and with the anytime refinement behind it.
DEPLOYED, REFINED = "puvae_deployed", "puvae_refined"
BUDGET_DEFENSES = (MAGNET, DEFENSE_GAN, DEPLOYED, REFINED)


@dataclass(frozen=True)
class Cell:
    """One number of the tables: a dataset and classifier, an attack on them, and the defense in front.

    `epsilon` is 0 without an attack, and None for Carlini-Wagner, which has no L-infinity bound.
    """

    dataset: str
    classifier: str  # architecture
    attack: str
    targeted: bool
    epsilon: float | None
    defense: str

    def __post_init__(self) -> None:
        for value, allowed in (
            (self.classifier, tuple(ARCHITECTURES)),
            (self.attack, ATTACKS),
            (self.defense, DEFENSES),
        ):
            if value not in allowed:
                raise ContractError(f"got {value!r}, expected one of {', '.join(allowed)}")
        if self.attack in (FGSM, IFGSM, RAND_FGSM):
            check_epsilon(self.epsilon if self.epsilon is not None else float("nan"))
        elif self.epsilon != (0.0 if self.attack == NONE else None) or (self.attack == NONE and self.targeted):
            raise ContractError(f'attack {self.attack!r} takes no epsilon, and "none" no target: got {self}')


def grid(
    dataset: str,
    contract: ImageContract,
    classifiers: Sequence[str],
    attacks: Sequence[str],
    targeted: Sequence[bool],
    defenses: Sequence[str],
    epsilon: float | None = None,
) -> Iterator[Cell]:
    """Yield every combination, cells of one attack side by side; `epsilon` None is the paper's for these images."""
    if epsilon is not None:
        check_epsilon(epsilon)
    bound = epsilon if epsilon is not None else radii_of(contract).epsilon
    for classifier, attack in product(classifiers, attacks):
        for aimed in (False,) if attack == NONE else targeted:
            for defense in defenses:
                yield Cell(dataset, classifier, attack, aimed, epsilon_of(attack, bound), defense)


def epsilon_of(attack: str, bound: float) -> float | None:
    """The epsilon that a cell of `attack` records: 0 without an attack, None for Carlini-Wagner, else `bound`."""
    return 0.0 if attack == NONE else None if attack == CW else bound


_OLD = {"DEFENCES": "DEFENSES", "ADAPTIVE_DEFENCES": "ADAPTIVE_DEFENSES", "BUDGET_DEFENCES": "BUDGET_DEFENSES"}
__getattr__ = renamed(__name__, _OLD)
