"""The task of a prior's training: robustness on its own loss, and on attacks of models that are never defended.

Single-step attacks from noisy starts are N-FGSM (de Jorge et al. 2022), several steps PGD (Madry et al. 2018), those on
frozen source models ensemble adversarial training (Tramer et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from puvae_rt.attacks.white_box import pgd_examples
from puvae_rt.models.layout import channels_last
from puvae_rt.models.prior import Prior
from puvae_rt.training.averaging import average_of, averaged_weights, take_in
from puvae_rt.training.loop import Metrics
from puvae_rt.training.recipes import RAMP, PriorRecipe
from puvae_rt.training.tasks import augment, uniform_each

TARGETED = 0.7  # share of the attacks on source models that aim at a random class


class PriorTask:
    """The task of training a prior.

    Args:
        module: the prior, with batch normalization.
        sources: classifiers, images -> logits, whose attacks it is shown.
        recipe: radii and augmentation.
        steps: of the whole training.
    """

    def __init__(self, module: Prior, sources: Sequence[nn.Module], recipe: PriorRecipe, steps: int) -> None:
        self.module, self.recipe, self.steps = module, recipe, steps
        self.sources = [channels_last(source.eval().requires_grad_(False)) for source in sources]
        self.state: dict[str, Tensor] = {"step": torch.zeros((), dtype=torch.long)}
        self.state |= average_of(module)

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The mean cross-entropy of noisy images, of own attacks and of the sources'; as `Task.loss`.

        The noisy images' part has been differentiated already: its gradient is the single-step attack's.
        """
        r, step = self.recipe, int(self.state["step"])
        take_in(self.state, self.module, step)
        self.state["step"] = self.state["step"] + 1
        x = self._augmented(x)
        done = step / self.steps
        radius = min(1.0, done / RAMP) * r.radius * (r.least + (1 - r.least) * uniform_each(x))
        spread = radius * r.noise * uniform_each(x).sqrt()
        noisy = (x + spread * (2 * torch.rand_like(x) - 1)).requires_grad_()
        noisy_loss = self._cross_entropy(noisy, y)
        noisy_loss.backward()  # type: ignore[no-untyped-call]
        if done < 1 - r.steep or r.steps == 1 or noisy.grad is None:
            attacked = self._single_step(x, noisy, radius)
        else:
            attacked = pgd_examples(self.module, x, y, radius, r.steps)
        own = self._cross_entropy(attacked, y)
        metrics = {"loss": own.item(), "noisy": noisy_loss.item()}
        if not self.sources:
            return own, metrics
        half = len(x) // 2
        transferred = self._cross_entropy(self._from_source(x[:half], y[:half]), y[:half])
        return own + transferred, metrics | {"sources": transferred.item()}

    def after_backward(self) -> None:
        """Nothing to do."""

    def averaged(self) -> Prior:
        """The prior with its averaged weights, batch normalization folded away."""
        self.module.load_state_dict(averaged_weights(self.state))
        return self.module.eval().folded()

    def _augmented(self, x: Tensor) -> Tensor:
        r = self.recipe
        if r.flips:
            x = torch.where(uniform_each(x) < 0.5, x.flip(3), x)
        return augment(x, r.turn, r.zoom, r.shift, r.light)

    def _cross_entropy(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.module(x), y, label_smoothing=self.recipe.smoothing)

    def _single_step(self, x: Tensor, noisy: Tensor, radius: Tensor) -> Tensor:
        assert noisy.grad is not None
        attacked = noisy.detach() + radius * noisy.grad.sign()
        if self.recipe.least == 1:  # exactly this radius: nothing beyond it
            attacked = torch.minimum(torch.maximum(attacked, x - radius), x + radius)
        return attacked.clamp(0, 1)

    def _from_source(self, x: Tensor, y: Tensor) -> Tensor:
        """FGSM on one of the sources, of a random radius; half of the images carry random sign noise before."""
        source = self.sources[int(torch.randint(len(self.sources), ()))]
        r, classes = self.recipe.source_radius, self.module.classes
        amplitude = 0.5 * r * (uniform_each(x) - 0.5).clamp(min=0) * 2
        start = (x + amplitude * torch.randn_like(x).sign()).clamp(0, 1).requires_grad_()
        targeted = torch.rand(len(x), device=x.device) < TARGETED
        labels = torch.where(targeted, (y + torch.randint(1, classes, y.shape, device=y.device)) % classes, y)
        losses = F.cross_entropy(source(start), labels, reduction="none")
        (gradient,) = torch.autograd.grad((losses * torch.where(targeted, -1.0, 1.0)).sum(), start)
        return (start.detach() + r * uniform_each(x).sqrt() * gradient.sign()).clamp(0, 1)
