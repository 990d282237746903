"""Training recipes: everything that decides the weights besides the data. Saved beside them as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from puvae_rt.attacks.constants import EPSILON
from puvae_rt.attacks.radii import radii_of
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError
from puvae_rt.models.spec import Ranks

if TYPE_CHECKING:
    from puvae_rt.data import Dataset


# Of an artefact's metadata: how long and on what it was trained.
HISTORY = ("recipe", "schedule", "init", "fine_tuning", "epsilon", "pgd_steps")


@dataclass(frozen=True)
class Schedule:
    """Adam with linear warm-up and cosine decay to zero."""

    epochs: int
    batch: int = 128
    learning_rate: float = 1e-3
    seed: int = 0
    replays: int = 1  # passes over each mini-batch before the next (Shafahi et al. 2019, "free" training)
    bf16: bool = False  # multiply in bfloat16: half the time on a CPU with AVX-512 BF16 or AMX

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "replays"):
            if getattr(self, name) < 1:
                raise ContractError(f"{name}={getattr(self, name)}: expected at least 1 (--{name})")
        if not 0 < self.learning_rate < 1:
            raise ContractError(f"learning_rate={self.learning_rate}: expected between 0 and 1 (--learning-rate)")

    def fit_to(self, images: int) -> Schedule:
        """A schedule whose mini-batch holds no more than all images."""
        return self if images >= self.batch else replace(self, batch=images)

    def record(self) -> dict[str, Any]:
        """The settings for metadata; FP32 goes without saying."""
        fields = asdict(self)
        if not self.bf16:
            del fields["bf16"]
        return fields


@dataclass(frozen=True)
class Recipe:
    """Loss weights and input corruption of a PuVAE training.

    `reconstruction`, `kl`, `source`: the paper's lambda_RC, lambda_KL, lambda_CE.
    `ranking`: weight of `ranking_loss` over `negatives` wrong classes, with dead zone `ranking_tau`.
    `input_noise`: largest amplitude of the random noise on the encoder's input; the target stays clean.
    `self_attack`: L-infinity radius of the perturbation that ascends the purifier's *own* ranking loss (no
    classifier that is defended is involved), applied to half of each batch.
    """

    name: str
    reconstruction: float
    kl: float
    source: float
    ranking: float = 0.0
    negatives: int = 1
    ranking_tau: float = 0.0
    input_noise: float = 0.0
    self_attack: float = 0.0
    threshold_start: bool = False  # see puvae_rt.training.initialisation
    tuned_score: bool = True  # False: RMSE, as in the paper
    augmented: bool = False  # every image turned, moved and lit at random
    augmented_source: bool = False  # M_s sees each reconstruction so

    def __post_init__(self) -> None:
        for name in ("reconstruction", "kl", "source", "ranking", "input_noise", "self_attack"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ContractError(f"{name}={getattr(self, name)}: expected a number >= 0")
        if self.self_attack and not self.ranking:
            raise ContractError("self_attack needs a ranking loss to ascend: set ranking > 0 (--ranking-weight)")

    def record(self) -> dict[str, Any]:
        """The settings for metadata; that nothing is augmented goes without saying."""
        fields = asdict(self)
        return {name: value for name, value in fields.items() if value or not name.startswith("augmented")}


PAPER = Recipe("paper", reconstruction=0.01, kl=0.1, source=10.0, tuned_score=False)


class Architecture(NamedTuple):
    """A classifier to train: its architecture, and the seed of its weights and order."""

    architecture: str
    seed: int


# M_s, which the reconstruction has to convince; its seed keeps it apart from every defended classifier M_t.
SOURCE = Architecture("B", seed=100)
CLASSIFIER_SCHEDULE = Schedule(epochs=3)
BASELINE_SCHEDULES = {
    "magnet": Schedule(epochs=20, batch=256, learning_rate=1e-2),
    "defense_gan": Schedule(epochs=25, batch=32, learning_rate=2e-4),  # the generator's
    "adv_training": Schedule(epochs=3, seed=7),
    "pgd_training": Schedule(epochs=5, seed=7),
}
PGD_STEPS = 7  # of the attack in pgd_training
RAMP = 0.15  # share of a training on its own attacks in which their radius grows to its full size
PUVAE_SCHEDULE = Schedule(epochs=6)
SHIPPED_RANKS = Ranks(fc1=48, fc2=96, trunk=32)  # 7 MB of weights for MNIST; the trunk in 3.5 times fewer products
FINE_TUNING = replace(PUVAE_SCHEDULE, epochs=3, learning_rate=5e-4)  # behind the factoring
REPLAYS = 4  # of a mini-batch when the recipe attacks itself

OURS = Recipe(
    "ours",
    reconstruction=1.0,
    kl=1.0,
    source=10.0,
    ranking=20.0,
    negatives=3,
    ranking_tau=0.1,
    input_noise=0.7,
    self_attack=0.3,
    threshold_start=True,
)
RECIPES = {recipe.name: recipe for recipe in (PAPER, OURS)}
NEGATIVE_SHARE = 0.2  # of many classes, so that the few that look alike are met often enough
BILEVEL_SHARE, BILEVEL_MARGIN = 0.8, 0.1  # share of pixels this close to black or white: digits, not garments


def recipe_for(name: str, dataset: Dataset) -> Recipe:
    """The recipe for these images: OURS is written for MNIST, radius .3 and pixels that are black or white.

    Noise, own attack and dead zone follow the radius of the attacks on such images. Colour images bear no noise of more
    than that radius; thresholds need bi-level images.
    """
    recipe = RECIPES[name]
    if not recipe.ranking:  # nothing to scale: the paper's
        return recipe
    scale = attack_scale(dataset.contract)
    self_attack = scale * recipe.self_attack
    gray = dataset.contract.channels == 1
    return replace(
        recipe,
        negatives=max(recipe.negatives, int(NEGATIVE_SHARE * len(dataset.classes))),
        ranking_tau=scale * recipe.ranking_tau,
        input_noise=scale * recipe.input_noise if gray else self_attack,
        self_attack=self_attack,
        threshold_start=recipe.threshold_start and bilevel(dataset),
    )


def bilevel(dataset: Dataset) -> bool:
    """Whether its images are nearly black and white: digits, not garments."""
    levels = dataset.train.head(1000).batch(slice(None))[0]
    return bool((np.minimum(levels, 1 - levels) < BILEVEL_MARGIN).mean() >= BILEVEL_SHARE)


def attack_scale(contract: ImageContract) -> float:
    """The attacks' radius on such images in units of MNIST's, for which every amplitude here is given."""
    return radii_of(contract).epsilon / EPSILON


@dataclass(frozen=True)
class PriorRecipe:
    """What a prior is trained against: its own gradients, and those of source models that are never defended.

    `radius`: L-infinity radius of the attack on its own loss; of each image between `least` of it and all.
    `steps`: of that attack in the last `steep` share of the training; one before (random-start FGSM).
    `noise`: largest amplitude of the uniform noise of the images it is trained on besides, in radii.
    `source_radius`: of FGSM on the source models, on half of each mini-batch.
    `zoom`, `shift`, `turn`, `light`: bounds of the augmentation (see `puvae_rt.training.tasks.augment`).
    `flips`: whether half of the images are mirrored.
    """

    radius: float
    source_radius: float
    steps: int = 5
    steep: float = 0.4
    least: float = 0.0
    noise: float = 1.5
    smoothing: float = 0.1  # of the labels
    zoom: float = 0.0
    shift: float = 0.1
    turn: float = 0.0
    light: float = 0.0
    flips: bool = False
    threshold_start: bool = False

    def record(self) -> dict[str, Any]:
        """The settings for metadata."""
        return asdict(self)


WEIGHT_DECAY = 1e-3  # of a prior
PRIOR_SCHEDULE = Schedule(epochs=12, learning_rate=3e-3)
PRIOR_EPOCHS = {"mnist": 5, "fashion_mnist": 16, "cifar10": 24}  # where they are not PRIOR_SCHEDULE's
PRIOR_RECIPES = {
    # Single steps alone overfit catastrophically at this radius (Wong et al. 2020): several from early on.
    "mnist": PriorRecipe(0.3, 0.3, least=1.0, noise=1.0, steep=0.85, shift=0.07),
    "fashion_mnist": PriorRecipe(0.2, 0.4, shift=0.07, flips=True),
    "traffic_signs": PriorRecipe(0.05, 0.07, steps=3, zoom=0.25, turn=0.1, light=0.3),
    "cifar10": PriorRecipe(0.04, 0.06, steps=3, shift=0.12, light=0.1, flips=True),
}


def prior_recipe_for(dataset: Dataset) -> PriorRecipe:
    """The recipe of a prior for these images: a known data set's own, else that of the one most alike, unmirrored."""
    if dataset.name in PRIOR_RECIPES:
        recipe = PRIOR_RECIPES[dataset.name]
        return replace(recipe, threshold_start=bilevel(dataset))
    alike = "cifar10" if dataset.contract.channels > 1 else "mnist" if bilevel(dataset) else "fashion_mnist"
    return replace(PRIOR_RECIPES[alike], flips=False, threshold_start=bilevel(dataset))
