"""White-box attacks on a classifier, in PyTorch. Images [N,C,H,W] in [0,1]; results stay in [0,1].

Every attack takes `labels` [N]: the true classes, or with `targeted` the classes to be mistaken for.
Sources: FGSM (Goodfellow et al. 2015), iterative FGSM (Kurakin et al. 2017), RAND+FGSM (Tramer et al. 2018, with
Defense-GAN's split of epsilon), PGD (Madry et al. 2018), Carlini-Wagner L2 (Carlini and Wagner 2017).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from puvae_rt.attacks.constants import IFGSM_STEP_SHARE, IFGSM_STEPS, PGD_TRAVEL
from puvae_rt.attacks.descent import Adam

Model = Callable[[Tensor], Tensor]

CW_ITERATIONS = 100
CW_SEARCHES = 5
CW_LEARNING_RATE = 0.05
CW_START_C = 1.0
CW_GROWTH = 10.0  # of c until a descent succeeds
CW_CHECK_EVERY = 10  # iterations
CW_FALLING = 0.9999  # a loss above this share of the one checked before has stopped falling
CW_BOX = 1 - 1e-6  # pixels of 0 and 1 have no finite arctanh


def random_targets(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """A class other than the true one for each label [N], uniformly drawn: [N]."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes


def _ascent_sign(model: Model, x: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    """Sign of the gradient of the attacker's objective at x, [N,C,H,W]."""
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(model(x), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(-loss if targeted else loss, x)
    return gradient.sign()


def fgsm(model: Model, x: Tensor, labels: Tensor, epsilon: float, targeted: bool = False) -> Tensor:
    """The images [N,C,H,W] after one step of size epsilon (L-infinity)."""
    return (x + epsilon * _ascent_sign(model, x, labels, targeted)).clamp(0, 1)


def ifgsm(model: Model, x: Tensor, labels: Tensor, epsilon: float, targeted: bool = False) -> Tensor:
    """The images [N,C,H,W] after `IFGSM_STEPS` steps inside the L-infinity ball of radius epsilon."""
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
    """The images [N,C,H,W] after a random sign step of size alpha, then FGSM with epsilon - alpha."""
    start = (x + alpha * torch.randn(x.shape, generator=generator).to(x.device).sign()).clamp(0, 1)
    return fgsm(model, start, labels, epsilon - alpha, targeted)


def pgd_examples(model: Model, x: Tensor, labels: Tensor, radius: Tensor | float, steps: int) -> Tensor:
    """The images [N,C,H,W] after projected gradient ascent from random starts (Madry et al. 2018), for trainings.

    Args:
        model: images -> logits [N,K].
        x: clean images [N,C,H,W] in [0,1].
        labels: their true classes [N].
        radius: L-infinity bound, one for all or [N,1,1,1].
        steps: of the ascent; together they could go `PGD_TRAVEL` radii.
    """
    attacked = (x + radius * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(steps):
        step = PGD_TRAVEL / steps * radius * _ascent_sign(model, attacked, labels, targeted=False)
        attacked = torch.minimum(torch.maximum(attacked + step, x - radius), x + radius).clamp(0, 1)
    return attacked


def carlini_wagner_l2(
    model: Model,
    x: Tensor,
    labels: Tensor,
    targeted: bool = False,
    iterations: int = CW_ITERATIONS,
    searches: int = CW_SEARCHES,
) -> Tensor:
    """Images [N,C,H,W] with the smallest L2 perturbation found, by Adam on tanh variables and a binary search over c.

    Args:
        model: images -> logits [N,K].
        x: clean images [N,C,H,W] in [0,1].
        labels: [N], as at the top of this file.
        targeted: whether `labels` are the classes to be mistaken for.
        iterations: of each descent.
        searches: descents, each with a c of its own for every image.
    Returns:
        Images for which no adversarial example was found come back unchanged.
    """
    low, high = x.new_zeros(len(x)), x.new_full((len(x),), float("inf"))
    c = x.new_full((len(x),), CW_START_C)
    best, best_l2 = x.clone(), x.new_full((len(x),), float("inf"))
    for _ in range(searches):
        found, l2 = _cw_descent(model, x, labels, c, targeted, iterations)
        success = l2.isfinite()
        better = l2 < best_l2
        best[better], best_l2[better] = found[better], l2[better]
        high = torch.where(success, torch.minimum(high, c), high)
        low = torch.where(success, low, torch.maximum(low, c))
        c = torch.where(high.isinf(), c * CW_GROWTH, (low + high) / 2)
    return best


def _cw_descent(
    model: Model, x: Tensor, labels: Tensor, c: Tensor, targeted: bool, iterations: int
) -> tuple[Tensor, Tensor]:
    """One descent for each image's c: the closest adversarial images met, and their squared distances (inf: none).

    An image whose loss has stopped falling leaves the batch, as in the authors' code ("abort early").
    """
    best, best_l2 = x.clone(), x.new_full((len(x),), float("inf"))
    active = torch.arange(len(x), device=x.device)
    w = torch.atanh((2 * x - 1) * CW_BOX)
    adam = Adam(w, CW_LEARNING_RATE)
    checked = x.new_full((len(x),), float("inf"))
    for step in range(1, iterations + 1):
        w.requires_grad_()
        candidate = 0.5 * (torch.tanh(w) + 1)
        margin = _margin(model(candidate), labels[active], targeted)
        l2 = (candidate - x[active]).square().sum(dim=(1, 2, 3))
        loss = l2 + c[active] * margin.clamp(min=0)
        (gradient,) = torch.autograd.grad(loss.sum(), w)
        better = (margin < 0) & (l2 < best_l2[active])
        best[active[better]], best_l2[active[better]] = candidate.detach()[better], l2.detach()[better]
        w = adam.step(w, gradient)
        if step % CW_CHECK_EVERY == 0:
            falling = loss.detach() < CW_FALLING * checked[active]
            checked[active] = loss.detach()
            active, w = active[falling], w[falling]
            adam.keep(falling)
            if not len(active):
                break
    return best, best_l2


def _margin(logits: Tensor, labels: Tensor, targeted: bool) -> Tensor:
    """How far the attack is from its goal: negative once the image is adversarial, [N]."""
    onehot = F.one_hot(labels, logits.shape[1]).bool()
    own, other = logits[onehot], logits.masked_fill(onehot, float("-inf")).amax(1)
    return other - own if targeted else own - other
