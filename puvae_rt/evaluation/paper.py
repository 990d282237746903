"""What the paper reports: every number of its Tables 2 to 6.

Hwang et al. 2019, "PuVAE: A Variational Autoencoder to Purify Adversarial Examples", arXiv 1903.00585. Its attacks of
the FGSM family are targeted and of our radii, Carlini-Wagner is L2 with 100 iterations; 10,000 test images.
"""

from __future__ import annotations

from puvae_rt.evaluation.cells import (
    ADV_TRAINING,
    CW,
    DEFENSE_GAN,
    FGSM,
    IFGSM,
    MAGNET,
    NONE,
    PUVAE_PAPER,
    RAND_FGSM,
)

CITATION = "Hwang et al. 2019, arXiv 1903.00585"
DEFENSES = (NONE, ADV_TRAINING, MAGNET, DEFENSE_GAN, PUVAE_PAPER)  # its columns; of clean images it has the first only

# Tables 2 to 4: accuracy in %, by data set and classifier, then by attack, in the order of DEFENSES.
_ACCURACIES: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("mnist", "A"): {
        NONE: (99.51,),
        FGSM: (12.46, 78.57, 26.90, 85.29, 81.33),
        IFGSM: (0.00, 91.72, 72.48, 87.40, 92.33),
        RAND_FGSM: (10.64, 84.21, 32.34, 89.02, 82.70),
        CW: (0.43, 18.80, 18.80, 90.04, 90.80),
    },
    ("mnist", "B"): {
        NONE: (99.29,),
        FGSM: (28.85, 88.49, 71.70, 86.03, 88.25),
        IFGSM: (0.04, 93.56, 86.29, 88.55, 92.25),
        RAND_FGSM: (6.42, 88.44, 41.66, 89.76, 85.03),
        CW: (0.59, 19.20, 19.10, 90.76, 92.92),
    },
    ("fashion_mnist", "A"): {
        NONE: (93.46,),
        FGSM: (4.06, 11.51, 11.71, 56.67, 59.18),
        IFGSM: (0.00, 50.31, 34.70, 65.11, 72.51),
        RAND_FGSM: (1.60, 8.72, 6.96, 59.52, 45.13),
        CW: (5.01, 18.00, 15.50, 68.60, 80.59),
    },
    ("fashion_mnist", "B"): {
        NONE: (93.54,),
        FGSM: (2.75, 8.00, 15.30, 58.20, 52.46),
        IFGSM: (0.00, 46.97, 41.84, 66.06, 71.04),
        RAND_FGSM: (1.34, 9.93, 7.44, 60.98, 52.22),
        CW: (4.87, 16.70, 16.70, 67.62, 79.42),
    },
    ("cifar10", "C"): {
        NONE: (82.13,),
        FGSM: (3.82, 19.07, 18.58, 29.74, 33.71),
        IFGSM: (0.32, 24.13, 27.00, 33.69, 35.49),
        RAND_FGSM: (4.84, 21.27, 19.99, 36.74, 33.76),
        CW: (9.88, 56.48, 40.13, 38.13, 36.36),
    },
    ("cifar10", "D"): {
        NONE: (80.30,),
        FGSM: (3.19, 15.00, 18.98, 30.11, 33.20),
        IFGSM: (0.43, 21.51, 29.95, 32.47, 34.48),
        RAND_FGSM: (4.13, 18.55, 20.44, 35.76, 34.40),
        CW: (9.92, 13.64, 15.71, 28.10, 31.70),
    },
}
# Table 5: seconds for a mini-batch of 128 MNIST images (the text has .114 for PuVAE), and their ratio.
MACHINE = "NVIDIA TITAN V, TensorFlow 1.12"
TIMED = "mnist"
DEFENSE_GAN_SECONDS, PUVAE_SECONDS, SPEED_RATIO = 14.8, 0.11, 134.55
# Table 6: accuracy in % within BUDGET seconds, MNIST, classifier A, by attack, in the order of DEFENSES without NONE.
BUDGET = 1.0
BUDGET_CELL = ("mnist", "A")
_WITHIN_BUDGET = {
    FGSM: (78.57, 26.90, 69.25, 81.33),
    IFGSM: (91.72, 72.48, 73.85, 92.33),
    RAND_FGSM: (84.21, 32.34, 71.50, 82.70),
    CW: (18.80, 18.80, 72.79, 90.80),
}


def classifiers(dataset: str) -> tuple[str, ...]:
    """The architectures that the paper defends on a data set; none on one that it does not have."""
    return tuple(classifier for known, classifier in _ACCURACIES if known == dataset)


def accuracy(dataset: str, classifier: str, attack: str, defense: str) -> float | None:
    """The accuracy in % of Tables 2 to 4, None where they have none."""
    numbers = _ACCURACIES.get((dataset, classifier), {}).get(attack, ())
    return dict(zip(DEFENSES, numbers, strict=False)).get(defense)


def within_budget() -> dict[tuple[str, str], float]:
    """Table 6: the accuracy in % by attack and defense."""
    return {
        (attack, defense): number
        for attack, numbers in _WITHIN_BUDGET.items()
        for defense, number in zip(DEFENSES[1:], numbers, strict=True)
    }
