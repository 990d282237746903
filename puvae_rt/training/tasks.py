"""What is trained: classifiers, and PuVAE with the paper's losses and ours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from puvae_rt.models.layout import channels_last
from puvae_rt.models.puvae import PuVAE, gaussian_kl
from puvae_rt.models.score import dead_zone_sse
from puvae_rt.training.loop import Metrics
from puvae_rt.training.losses import ranking_loss, reconstruction_loss, wrong_classes
from puvae_rt.training.recipes import Recipe

# Augmentation of photographs: largest turn (radians), zoom, shift (of half a side) and log of the gain.
TURN, ZOOM, SHIFT, LIGHT = 0.1, 0.1, 0.1, 0.3


class ClassifierTask:
    """Cross-entropy on clean images, or on `augment`ed ones."""

    def __init__(self, module: nn.Module, augmented: bool = False) -> None:
        self.module, self.augmented = module, augmented
        self.state: dict[str, Tensor] = {}

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The mean cross-entropy; as `Task.loss`."""
        logits = self.module(augment(x) if self.augmented else x)
        loss = F.cross_entropy(logits, y)
        accuracy = (logits.argmax(1) == y).float().mean()
        return loss, {"loss": loss.item(), "accuracy": accuracy.item()}

    def after_backward(self) -> None:
        """Nothing to do."""


class PuvaeTask:
    """Equation 12 of the paper, with the encoder's input corrupted and the selection trained when asked."""

    def __init__(self, module: PuVAE, source: nn.Module, recipe: Recipe) -> None:
        self.module, self.recipe = module, recipe
        self.source = channels_last(source.eval().requires_grad_(False))
        self.state: dict[str, Tensor] = {}
        self._input = torch.empty(0)

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The weighted sum of the recipe's terms; as `Task.loss`."""
        r, vae = self.recipe, self.module
        if r.augmented:
            if fresh:  # a replay's perturbation belongs to the same image
                self.state["augmented"] = augment(x)
            x = self.state["augmented"]
        self._input = self._corrupt(x, fresh)
        onehot = F.one_hot(y, vae.classes).float()
        features = vae.features(self._input)
        q = vae.head(features, onehot)
        logits = vae.decode_logits(q.sample(), onehot)
        stats = vae.image_stats(x)  # of the clean image, not of the corrupted one that the encoder sees
        target = x if stats is None else stats.decoder_target(x)
        decoded = torch.sigmoid(logits)
        reconstructed = decoded if stats is None else stats.denormalize(decoded)
        judged = augment(reconstructed) if r.augmented_source else reconstructed
        terms = {
            "reconstruction": reconstruction_loss(logits, target),
            "kl": gaussian_kl(q).mean(),
            "source": F.cross_entropy(self.source(judged), y),
        }
        metrics: Metrics = {}
        if r.ranking:
            sse = self._sse(features, y)
            terms["ranking"] = ranking_loss(sse)
            metrics["selected"] = (sse.argmin(1) == 0).float().mean().item()
        loss = torch.stack([getattr(r, name) * term for name, term in terms.items()]).sum()
        return loss, metrics | {"loss": loss.item()} | {k: v.item() for k, v in terms.items()}

    def after_backward(self) -> None:
        """One ascent step of the own attack, with the gradient that the backward pass gives anyway."""
        gradient = self._input.grad
        if self.recipe.self_attack and gradient is not None:
            radius = self.recipe.self_attack
            step = radius * gradient.sign()
            self.state["perturbation"] = (self.state["perturbation"] + step).clamp(-radius, radius)

    def _sse(self, features: Tensor, y: Tensor) -> Tensor:
        """Distance of the input to its projections on the true class and on wrong ones: [N, 1+negatives]."""
        r, vae = self.recipe, self.module
        classes = torch.cat([y[:, None], wrong_classes(y, vae.classes, r.negatives)], dim=1)
        onehot = F.one_hot(classes.flatten(), vae.classes).float()  # [N*(1+J), K]
        q = vae.head(features.repeat_interleave(classes.shape[1], dim=0), onehot)
        stats = vae.image_stats(self._input)
        decoded = vae.decode(q.mu, onehot, stats and stats.repeat(classes.shape[1]))
        candidates = decoded.view(*classes.shape, *self._input.shape[1:])
        sse = dead_zone_sse(self._input[:, None], candidates, r.ranking_tau)
        return sse if stats is None else sse / stats.error_scale()[:, None]

    def _corrupt(self, x: Tensor, fresh: bool) -> Tensor:
        """Random noise; with `self_attack`, half of the batch carries the own attack instead."""
        noisy = x + random_noise(x, self.recipe.input_noise) if self.recipe.input_noise else x
        radius = self.recipe.self_attack
        if not radius:
            return noisy.clamp(0, 1)
        if fresh:
            self.state["perturbation"] = torch.empty_like(x).uniform_(-radius, radius)
        attacked = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1) % 2 == 0
        return torch.where(attacked, x + self.state["perturbation"], noisy).clamp(0, 1).requires_grad_()


def augment(x: Tensor, turn: float = TURN, zoom: float = ZOOM, shift: float = SHIFT, light: float = LIGHT) -> Tensor:
    """Images [N,C,H,W] in [0,1], each turned, scaled, shifted, and lit differently, within the given bounds."""
    n = len(x)
    angle, growth, gain = (bound * (2 * torch.rand(n, device=x.device) - 1) for bound in (turn, zoom, light))
    scale = 1 + growth
    cos, sin = scale * angle.cos(), scale * angle.sin()
    moves = shift * (2 * torch.rand(2, n, device=x.device) - 1)
    affine = torch.stack([cos, -sin, moves[0], sin, cos, moves[1]], dim=1).view(n, 2, 3)
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return (moved * gain.exp().view(-1, 1, 1, 1)).clamp(0, 1)


def random_noise(x: Tensor, largest: float) -> Tensor:
    """Amplitude `largest` * sqrt(U) for each image, sign noise for the even ones and Gaussian for the odd."""
    shape = torch.randn_like(x)
    shape[::2] = shape[::2].sign()
    return largest * uniform_each(x).sqrt() * shape


def uniform_each(x: Tensor) -> Tensor:
    """A number in [0,1) for each of the images x [N,C,H,W], [N,1,1,1], uniformly drawn on their device."""
    return torch.rand(len(x), 1, 1, 1, device=x.device)
