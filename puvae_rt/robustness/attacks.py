"""White-box attacks on a classifier, in PyTorch. Images [N,C,H,W] in [0,1]; results stay in [0,1].

Every attack takes `labels` [N]: the true classes, or with `targeted` the classes to be mistaken for.
Sources: FGSM (Goodfellow et al. 2015), iterative FGSM (Kurakin et al. 2017), RAND+FGSM (Tramer et al. 2018, with
Defense-GAN's split of epsilon), Carlini-Wagner L2 (Carlini and Wagner 2017).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from puvae_rt.robustness.constants import IFGSM_STEP_SHARE, IFGSM_STEPS

Model = Callable[[Tensor], Tensor]

CW_ITERATIONS = 100
CW_SEARCHES = 5
CW_LEARNING_RATE = 0.05
CW_START_C = 1.0


def random_targets(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """A class different from the truth for each label, uniformly: [N] -> [N]."""
    shift = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + shift) % classes


def _ascent_sign(model: Model, x: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    """Sign of the gradient of the attacker's objective at x, [N,C,H,W]."""
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(-loss if targeted else loss, x)
    return gradient.sign()


def fgsm(model: Model, x: Tensor, labels: Tensor, epsilon: float, targeted: bool = False) -> Tensor:
    """One step of size epsilon (L-infinity)."""
    return (x + epsilon * _ascent_sign(model, x, labels, targeted)).clamp(0, 1)


def ifgsm(model: Model, x: Tensor, labels: Tensor, epsilon: float, targeted: bool = False) -> Tensor:
    """`IFGSM_STEPS` steps inside the L-infinity ball of radius epsilon."""
    attacked = x
    for _ in range(IFGSM_STEPS):
        attacked = attacked + IFGSM_STEP_SHARE * epsilon * _ascent_sign(model, attacked, labels, targeted)
        attacked = torch.minimum(torch.maximum(attacked, x - epsilon), x + epsilon).clamp(0, 1)
    return attacked


def rand_fgsm(
    model: Model,
    x: Tensor,
    labels: Tensor,
    epsilon: float,
    alpha: float,
    generator: torch.Generator,
    targeted: bool = False,
) -> Tensor:
    """A random sign step of size alpha, then FGSM with epsilon - alpha."""
    start = (x + alpha * torch.randn(x.shape, generator=generator).sign()).clamp(0, 1)
    return fgsm(model, start, labels, epsilon - alpha, targeted)


def carlini_wagner_l2(
    model: Model,
    x: Tensor,
    labels: Tensor,
    targeted: bool = False,
    iterations: int = CW_ITERATIONS,
    searches: int = CW_SEARCHES,
) -> Tensor:
    """Smallest L2 perturbation found by Adam on tanh variables, with a binary search over c for each image.

    Images for which no adversarial example was found come back unchanged.
    """
    w_start = torch.atanh((2 * x - 1) * (1 - 1e-6))
    low, high = torch.zeros(len(x)), torch.full((len(x),), float("inf"))
    c = torch.full((len(x),), CW_START_C)
    best, best_l2 = x.clone(), torch.full((len(x),), float("inf"))
    onehot = F.one_hot(labels, model(x[:1]).shape[1]).bool()
    for _ in range(searches):
        w = w_start.clone().requires_grad_()
        optimizer = torch.optim.Adam([w], lr=CW_LEARNING_RATE)
        found = torch.zeros(len(x), dtype=torch.bool)
        for _ in range(iterations):
            candidate = 0.5 * (torch.tanh(w) + 1)
            logits = model(candidate)
            own, other = logits[onehot], logits.masked_fill(onehot, float("-inf")).amax(1)
            margin = (other - own) if targeted else (own - other)
            l2 = (candidate - x).square().sum(dim=(1, 2, 3))
            optimizer.zero_grad()
            (l2 + c * margin.clamp(min=0)).sum().backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                success = margin < 0
                found |= success
                better = success & (l2 < best_l2)
                best_l2 = torch.where(better, l2, best_l2)
                best[better] = candidate[better]
            optimizer.step()
        high = torch.where(found, torch.minimum(high, c), high)
        low = torch.where(found, low, torch.maximum(low, c))
        c = torch.where(high.isinf(), c * 10, (low + high) / 2)
    return best.detach()
