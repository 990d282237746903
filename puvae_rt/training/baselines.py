"""Training tasks of the defenses that PuVAE is compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from puvae_rt.attacks.white_box import Model, fgsm, pgd_examples
from puvae_rt.contract import ImageContract
from puvae_rt.models.gan import LATENT, Critic, Generator
from puvae_rt.models.magnet import reformer_of
from puvae_rt.training.averaging import average_of, averaged_weights, take_in
from puvae_rt.training.loop import Metrics
from puvae_rt.training.recipes import PGD_STEPS, RAMP
from puvae_rt.training.tasks import uniform_each

PENALTY = 10.0  # weight of the gradient penalty
CRITIC_PACE = 2.0  # the critic's learning rate over the generator's, which take turns: Heusel et al. 2017


class AdversarialTask:
    """The task of FGSM training: half of the loss on clean images, half on FGSM examples of `attacked`, M_t."""

    def __init__(self, module: nn.Module, attacked: Model, epsilon: float) -> None:
        self.module, self.attacked, self.epsilon = module, attacked, epsilon
        self.state: dict[str, Tensor] = {}

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The mean cross-entropy of both halves; as `Task.loss`."""
        adversarial = fgsm(self.attacked, x, y, self.epsilon)
        clean, hard = self.module(torch.cat([x, adversarial])).chunk(2)
        loss = 0.5 * (F.cross_entropy(clean, y) + F.cross_entropy(hard, y))
        return loss, {
            "loss": loss.item(),
            "accuracy": (clean.argmax(1) == y).float().mean().item(),
            "attacked": (hard.argmax(1) == y).float().mean().item(),
        }

    def after_backward(self) -> None:
        """Nothing to do."""


class PgdTask:
    """The task of PGD training (Madry et al. 2018): the loss on images that raise the classifier's own loss most.

    Dropout is off while they are looked for. The radius grows from 0 during the first `RAMP` of the training, so that
    the classifier has something to be robust about.

    Args:
        module: the classifier, images -> logits.
        epsilon: L-infinity radius of the attack, of pixels in [0,1].
        total: mini-batches of the whole training.
    """

    def __init__(self, module: nn.Module, epsilon: float, total: int) -> None:
        self.module, self.epsilon, self.total = module, epsilon, total
        self.state: dict[str, Tensor] = {"step": torch.zeros((), dtype=torch.long)}

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The mean cross-entropy of the attacked images; as `Task.loss`."""
        self.state["step"] = self.state["step"] + 1
        radius = self.epsilon * min(1.0, self.state["step"].item() / (RAMP * self.total))
        self.module.eval()
        attacked = pgd_examples(self.module, x, y, radius, PGD_STEPS)
        logits = self.module.train()(attacked)
        loss = F.cross_entropy(logits, y)
        return loss, {"loss": loss.item(), "attacked": (logits.argmax(1) == y).float().mean().item()}

    def after_backward(self) -> None:
        """Nothing to do."""


class ReformerTask:
    """The task of MagNet's reformer: the mean squared error of the reformed noisy image to the clean one."""

    def __init__(self, module: nn.Module, contract: ImageContract) -> None:
        self.module, self.noise = module, reformer_of(contract).noise
        self.state: dict[str, Tensor] = {}

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The mean squared error; as `Task.loss`."""
        noisy = (x + self.noise * torch.randn_like(x)).clamp(0, 1)
        loss = F.mse_loss(self.module(noisy), x)
        return loss, {"loss": loss.item()}

    def after_backward(self) -> None:
        """Nothing to do."""


class Gan(nn.Module):
    """Both networks of a WGAN-GP training."""

    def __init__(self, contract: ImageContract) -> None:
        super().__init__()
        self.generator, self.critic = Generator(contract), Critic(contract)


class GanTask:
    """WGAN-GP: one mini-batch trains the critic, the next the generator.

    Gulrajani et al. 2017 train the critic five times for each step of the generator. Two time scales (Heusel et al.
    2017) reach the same in turns, with a faster critic, and a CPU then affords four times the steps of the generator.
    What is kept of the generator is the moving average of its weights.

    One Adam serves both: it keeps moments and a step count for each parameter and skips those without a gradient,
    so it is two optimisers as soon as each loss reaches one network only.
    """

    def __init__(self, module: Gan) -> None:
        self.module = module
        self.state: dict[str, Tensor] = {"turn": torch.zeros((), dtype=torch.long), "last": torch.zeros(3)}
        self.state |= average_of(module.generator)

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The critic's loss or the generator's, in turn; as `Task.loss`."""
        turn = int(self.state["turn"])
        generating = turn % 2 == 1
        self.state["turn"] = self.state["turn"] + 1
        self.module.critic.requires_grad_(not generating)
        self.module.generator.requires_grad_(generating)
        if generating:
            take_in(self.state, self.module.generator, turn // 2)
        loss = self._generator_loss(x) if generating else self._critic_loss(x)
        names = ("distance", "penalty", "generator")
        return loss, dict(zip(names, self.state["last"].tolist(), strict=True))

    def after_backward(self) -> None:
        """Nothing to do."""

    def averaged(self) -> Generator:
        """The generator with its averaged weights."""
        model = Generator(self.module.generator.contract)
        model.load_state_dict(averaged_weights(self.state))
        return model

    def _generator_loss(self, real: Tensor) -> Tensor:
        loss: Tensor = -self.module.critic(self._generate(real)).mean()
        self._note(2, loss)
        return loss

    def _critic_loss(self, real: Tensor) -> Tensor:
        fake = self._generate(real).detach()
        on_real, on_fake = self.module.critic(torch.cat([real, fake])).chunk(2)
        distance: Tensor = on_real.mean() - on_fake.mean()  # estimates the Wasserstein distance
        penalty = self._gradient_penalty(real, fake)
        self._note(0, distance)
        self._note(1, penalty)
        return -distance + PENALTY * penalty

    def _gradient_penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        """Mean squared excess of the critic's slope over 1, between real and generated images."""
        between = torch.lerp(real, fake, uniform_each(real)).requires_grad_()
        (slope,) = torch.autograd.grad(self.module.critic(between).sum(), between, create_graph=True)
        excess: Tensor = slope.flatten(1).norm(dim=1) - 1
        return excess.square().mean()

    def _generate(self, like: Tensor) -> Tensor:
        return self.module.generator(torch.randn(len(like), LATENT, device=like.device))  # type: ignore[no-any-return]

    def _note(self, place: int, value: Tensor) -> None:
        """Record a metric; every step reports every one of them, as a curve has one set of names."""
        self.state["last"] = self.state["last"].index_fill(0, torch.tensor(place), value.item())
