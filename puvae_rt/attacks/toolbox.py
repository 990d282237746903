"""Adaptive attacks of the Adversarial Robustness Toolbox, an optional dependency, of the extra "dev".

- APGD on cross-entropy and on the logit ratio with averaged predictions: AutoAttack's "rand" version (Croce and
  Hein 2020).
- Square (Andriushchenko et al. 2020), which needs no gradient: a check on gradient masking.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from puvae_rt.attacks.constants import AUTO_STEPS, SQUARE_QUERIES
from puvae_rt.attacks.radii import check_epsilon
from puvae_rt.attacks.white_box import Model
from puvae_rt.errors import TargetUnavailableError
from puvae_rt.refusal import install

AUTO_EOT = 20  # AutoAttack's own, as AUTO_STEPS


def square(
    model: Model, x: Tensor, labels: Tensor, epsilon: float, classes: int, queries: int = SQUARE_QUERIES
) -> Tensor:
    """Images [N,C,H,W] attacked by the Toolbox's Square attack, which sees only the answers of `model` (logits).

    Args:
        model: images -> logits [N,K].
        x: clean images [N,C,H,W] in [0,1].
        labels: true classes [N].
        epsilon: radius of the L-infinity ball.
        classes: K.
        queries: answers that it may ask for, per image.
    Raises:
        TargetUnavailableError: the Toolbox is not installed.
        ContractError: epsilon is not in (0, 1].
    """
    check_epsilon(epsilon)
    evasion = _toolbox("attacks.evasion")
    attack = evasion.SquareAttack(
        _estimator(model, x, classes), eps=epsilon, max_iter=queries, batch_size=len(x), nb_restarts=1, verbose=False
    )
    return _generate(attack, x, labels, classes)


def auto_attack_rand(
    model: Model,
    x: Tensor,
    labels: Tensor,
    epsilon: float,
    classes: int,
    steps: int = AUTO_STEPS,
    samples: int = AUTO_EOT,
) -> Tensor:
    """Images [N,C,H,W] attacked by AutoAttack's "rand" pair: APGD-CE, then APGD-DLR on those that still stand.

    Arguments and errors are those of `square`; at each of `steps`, `samples` predictions are averaged.
    """
    check_epsilon(epsilon)
    evasion = _toolbox("attacks.evasion")
    averaged = _averaged(model, samples)
    attacked = x
    for loss in ("cross_entropy", "difference_logits_ratio"):
        with torch.no_grad():
            standing = (averaged(attacked).argmax(dim=1) == labels).nonzero().squeeze(1)
        if not len(standing):
            break
        attack = evasion.AutoProjectedGradientDescent(
            _estimator(averaged, x, classes),
            eps=epsilon,
            eps_step=2 * epsilon,
            max_iter=steps,
            nb_random_init=1,
            batch_size=len(x),
            loss_type=loss,
            verbose=False,
        )
        attacked = attacked.clone()
        attacked[standing] = _generate(attack, x[standing], labels[standing], classes)
    return attacked


def _averaged(model: Model, samples: int) -> Model:
    """log of the mean probability over `samples` answers of a randomised model."""

    def forward(x: Tensor) -> Tensor:
        answers = torch.stack([model(x).log_softmax(dim=1) for _ in range(samples)])
        return answers.logsumexp(dim=0) - float(np.log(samples))

    return forward


def _estimator(model: Model, x: Tensor, classes: int) -> Any:
    class Module(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return model(images)

    classification, place = _toolbox("estimators.classification"), "gpu" if x.is_cuda else "cpu"
    return classification.PyTorchClassifier(
        Module(), nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0.0, 1.0), device_type=place
    )


def _generate(attack: Any, x: Tensor, labels: Tensor, classes: int) -> Tensor:
    onehot = np.eye(classes, dtype=np.float32)[labels.cpu().numpy()]
    attacked = attack.generate(x.cpu().numpy(), onehot).astype(np.float32, copy=False)
    return torch.from_numpy(attacked).to(x.device)


def _toolbox(module: str) -> Any:
    try:
        return import_module(f"art.{module}")
    except ImportError as error:
        raise TargetUnavailableError(
            f"this attack needs the Adversarial Robustness Toolbox ({error}); install it with {install('dev')}"
        ) from error
