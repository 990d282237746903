"""What the paper reports, as far as its numbers could be had from sources that we can name.

Hwang et al. 2019, "PuVAE: A Variational Autoencoder to Purify Adversarial Examples", arXiv 1903.00585.
"""

from __future__ import annotations

from typing import NamedTuple

from puvae_rt.evaluation.cells import CW, FGSM, IFGSM, RAND_FGSM

CITATION = "Hwang et al. 2019, arXiv 1903.00585"


class Reference(NamedTuple):
    """The place of a number in the paper's Table 2."""

    dataset: str
    classifier: str
    attack: str


# Accuracy of PuVAE in Table 2, %. The paper's other cells were not at hand.
PUVAE = {
    Reference("mnist", "A", FGSM): 81.3,
    Reference("mnist", "A", IFGSM): 92.3,
    Reference("mnist", "A", RAND_FGSM): 82.7,
    Reference("mnist", "A", CW): 90.8,
}
# Table 5: Defense-GAN's time for a mini-batch of 128 over PuVAE's, on the paper's GPU.
SPEED_RATIO = 134.55
