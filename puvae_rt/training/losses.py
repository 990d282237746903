"""Loss terms of PuVAE. Sums over pixels or latent dimensions, means over the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from puvae_rt._moved import renamed

RANKING_MARGIN = 1.0  # nats by which the true class has to win


def reconstruction_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The binary cross-entropy of the decoder's logits [N,C,H,W] against pixels in [0,1] (equation 8)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)


def ranking_loss(sse: Tensor) -> Tensor:
    """Trains the selection itself. sse [N, 1+J]: column 0 the true class, the others wrong classes.

    The cross-entropy of Gaussian likelihoods exp(-SSE/2), with a margin on the wrong classes;
    for J = 1 it is softplus((SSE_y - SSE_j)/2 + margin).
    """
    logits = -0.5 * sse
    logits = torch.cat([logits[:, :1], logits[:, 1:] + RANKING_MARGIN], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(sse), dtype=torch.long, device=sse.device))


def wrong_classes(labels: Tensor, classes: int, count: int) -> Tensor:
    """`count` different wrong classes [N, J] for each label [N], or all there are, from the global generator."""
    keys = torch.rand(len(labels), classes, device=labels.device).scatter_(1, labels[:, None], -1.0)
    return keys.topk(min(count, classes - 1), dim=1).indices


__getattr__ = renamed(__name__, {"dead_zone_sse": "puvae_rt.models.score:dead_zone_sse"})
