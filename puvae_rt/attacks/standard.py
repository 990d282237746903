"""Standard AutoAttack (Croce and Hein 2020) by torchattacks, which is installed for it alone.

APGD on the cross-entropy, targeted APGD on the logit ratio, targeted FAB, and Square; an image that one of them gets
wrong is not given to the next. torchattacks' own `AutoAttack` makes 10 steps and aims at every class; the standard is
100 steps and the 9 likeliest wrong classes, so the four attacks are taken one by one.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from puvae_rt.attacks.radii import check_epsilon
from puvae_rt.attacks.white_box import Model
from puvae_rt.errors import ContractError, TargetUnavailableError

VERSION = "3.5.1"
# Never an extra: it asks for old versions of requests and torchvision, neither of which it imports.
INSTALL = f"python -m pip install --no-deps torchattacks=={VERSION}"
LEAST_CLASSES = 4  # the logit ratio looks at the four largest logits
CLEAN = "clean"  # what has broken an image that is wrong without an attack
ROUNDING = 1e-6  # of a float32 addition: how far beyond epsilon an attack may seem to have gone


@dataclass(frozen=True)
class Standard:
    """How hard each of the four tries; the defaults are the standard, anything else is not to be called that."""

    steps: int = 100
    targets: int = 9
    queries: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "targets", "queries"):
            if getattr(self, name) < 1:
                raise ContractError(f"{name}={getattr(self, name)}: expected at least 1")


@dataclass
class StandardAttack:
    """AutoAttack on one defended classifier at one radius; `warnings` gathers what the library says meanwhile.

    Attributes:
        model: images [N,C,H,W] in [0,1] -> logits [N,K].
        epsilon: radius of the L-infinity ball.
        classes: K.
        settings: steps, targets and queries.
        device: of the images.
        warnings: each once, in the order in which they came.
    Raises:
        TargetUnavailableError: torchattacks is not installed.
        ContractError: epsilon is not in (0, 1], or fewer than 4 classes.
    """

    model: Model
    epsilon: float
    classes: int
    settings: Standard = Standard()
    device: torch.device = torch.device("cpu")
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_epsilon(self.epsilon)
        if self.classes < LEAST_CLASSES:
            raise ContractError(f"{self.classes} classes: AutoAttack's logit ratio needs at least {LEAST_CLASSES}")
        with self._listening():
            self._attacks = list(self._build())

    def __call__(self, x: Tensor, label: Tensor) -> str:
        """The name of what breaks one image x [1,C,H,W] with its label [1]: CLEAN, an attack, or "" where none does."""
        if self._wrong(x, label):
            return CLEAN
        for name, attack in self._attacks:
            with self._listening():
                attacked = attack(x, label)
            if self._wrong(attacked, label) and (attacked - x).abs().max() <= self.epsilon + ROUNDING:
                return name
        return ""

    def _build(self) -> Iterator[tuple[str, Callable[[Tensor, Tensor], Tensor]]]:
        library, model, settings = _library(), _Module(self.model, self.device), self.settings
        common = {"norm": "Linf", "eps": self.epsilon, "seed": settings.seed, "n_restarts": 1}
        aimed = common | {"steps": settings.steps, "n_classes": min(settings.targets + 1, self.classes)}
        yield "apgd_ce", library.APGD(model, **common, steps=settings.steps, loss="ce")
        yield "apgd_t", library.APGDT(model, **aimed)
        yield "fab_t", library.FAB(model, **aimed, multi_targeted=True)
        yield "square", library.Square(model, **common, n_queries=settings.queries, resc_schedule=False)

    @torch.no_grad()
    def _wrong(self, x: Tensor, label: Tensor) -> bool:
        return bool((self.model(x).argmax(dim=1) != label).any())

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Gather what is printed and warned of; leave PyTorch's random state as it was."""
        printed = io.StringIO()
        with (
            torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []),
            redirect_stdout(printed),
            warnings.catch_warnings(record=True) as caught,
        ):
            warnings.simplefilter("always")
            yield
        for told in (*printed.getvalue().splitlines(), *(str(warning.message) for warning in caught)):
            if told.strip() and told.strip() not in self.warnings:
                self.warnings.append(told.strip())


class _Module(nn.Module):
    """A model as torchattacks takes one: a module, with a parameter that tells it the device."""

    def __init__(self, model: Model, device: torch.device) -> None:
        super().__init__()
        self._model = model
        self.device = nn.Parameter(torch.zeros(0, device=device), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return self._model(images)


def _library() -> Any:
    try:
        return import_module("torchattacks")
    except ImportError as error:
        raise TargetUnavailableError(
            f"AutoAttack needs torchattacks and SciPy ({error}); install them with `python -m pip install scipy` and "
            f"`{INSTALL}`"
        ) from error
