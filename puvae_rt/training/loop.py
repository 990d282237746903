"""One training loop for every model here: seeded order, progress, checkpoints, bit-exact resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from puvae_rt.data import Split
from puvae_rt.errors import CheckpointError, DataError
from puvae_rt.models.layout import channels_last
from puvae_rt.refusal import printable
from puvae_rt.schema import Count, check_seal, decode, seal
from puvae_rt.training.batches import batch_places, taker
from puvae_rt.training.checkpoint import REMEDY, load_tensors, restore_training_state, save_tensors, training_state
from puvae_rt.training.device import device_of, forked_random
from puvae_rt.training.interrupts import signals_held
from puvae_rt.training.recipes import Schedule

CHECKPOINT_SECONDS = 120.0
LOG_EVERY = 20  # steps between two points of a curve
WARM_UP = 0.05  # of all steps

Metrics = dict[str, float]
Progress = Callable[[int, int, Metrics], None]


class AdamSettings(NamedTuple):
    """What a schedule leaves open.

    `decay`: warm-up and cosine decay; else the learning rate stays as it is. `factors`: of that rate, for the parts of
    the module that learn at another one. `weight_decay`: decoupled, as AdamW's (Loshchilov and Hutter 2019).
    """

    betas: tuple[float, float] = (0.9, 0.999)
    decay: bool = True
    factors: Mapping[str, float] = {}
    weight_decay: float = 0.0


@dataclass(frozen=True)
class _Kept:
    """What a checkpoint says besides its tensors."""

    identity: dict[str, Any]
    step: Count
    curve: list[dict[str, int | float]]
    shapes: dict[str, list[int]] | None = None  # of every tensor; None in checkpoints from before 0.2


class Task(Protocol):
    """What is trained: a module, its loss, and whatever it keeps between steps (named tensors)."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    state: dict[str, Tensor]

    def loss(self, x: Tensor, y: Tensor, fresh: bool) -> tuple[Tensor, Metrics]:
        """The loss of images x [N,C,H,W] in [0,1] and labels y [N], and what the curve records of it.

        `fresh` is True on a mini-batch's first replay.
        """
        ...

    def after_backward(self) -> None:
        """Called after each backward pass, before the step."""


def learning_rate(step: int, total: int, peak: float) -> float:
    """The rate at a step: a linear warm-up to `peak`, then a cosine's half down to 0 at the end."""
    warm = max(1, int(WARM_UP * total))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def fit(
    task: Task,
    split: Split,
    schedule: Schedule,
    identity: dict[str, Any],
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    stop_after: int | None = None,
    adam: AdamSettings = AdamSettings(),
) -> list[Metrics]:
    """Trains `task.module` in place and returns its curve.

    It runs where the module is. Resumes from `checkpoint`, whatever device wrote it, when the file exists: killed at
    any step, a run on the CPU reaches the same weights bit for bit (sums on a GPU have no fixed order).
    A signal takes effect once the step is done and in the checkpoint. The caller's random state is left as it was.

    Raises:
        CheckpointError: the file belongs to a run with another `identity` or schedule.
        DataError: fewer images than a mini-batch.
    """
    _require_batch(split, schedule)
    identity = run_identity(identity, schedule)
    channels_last(task.module)
    optimizer = _optimizer(task.module, schedule, adam)
    device = device_of(task.module)
    take = taker(split, device)
    with signals_held() as held, forked_random(device):
        torch.manual_seed(schedule.seed)
        step, curve = _resume(task, optimizer, checkpoint, identity)
        total = schedule.epochs * (len(split) // schedule.batch)
        task.module.train()
        saved = time.monotonic()
        while step < total:
            rate = learning_rate(step, total, schedule.learning_rate) if adam.decay else schedule.learning_rate
            x, y = take(batch_places(len(split), schedule, step // schedule.replays))
            metrics = _step(task, x, y, schedule, optimizer, step, rate)
            step += 1
            if step % LOG_EVERY == 0 or step == total:
                curve.append({"step": step} | metrics)
            if progress:
                progress(step, total, metrics)
            stopping = held.number is not None or (stop_after is not None and step >= stop_after)
            if checkpoint and (step == total or stopping or time.monotonic() - saved > CHECKPOINT_SECONDS):
                _save(task, optimizer, checkpoint, identity, step, curve)
                saved = time.monotonic()
            if stopping:
                break
    task.module.eval()
    return curve


def _require_batch(split: Split, schedule: Schedule) -> None:
    if len(split) < schedule.batch:
        raise DataError(
            f"{len(split)} training images, fewer than a mini-batch of {schedule.batch}; add images, or give a smaller "
            "--mini-batch"
        )


def _optimizer(module: nn.Module, schedule: Schedule, adam: AdamSettings) -> torch.optim.Optimizer:
    groups, decay = _groups(module, adam.factors), adam.weight_decay
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=adam.betas, weight_decay=decay, fused=True)


def _groups(module: nn.Module, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Adam's parameter groups, one for each factor of the learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        groups.setdefault(factors.get(name.partition(".")[0], 1.0), []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def _step(
    task: Task, x: Tensor, y: Tensor, schedule: Schedule, optimizer: torch.optim.Optimizer, step: int, rate: float
) -> Metrics:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(x.device.type, torch.bfloat16) if schedule.bf16 else nullcontext():
        loss, metrics = task.loss(x, y, fresh=step % schedule.replays == 0)
    loss.backward()  # type: ignore[no-untyped-call]
    task.after_backward()
    optimizer.step()
    return metrics


def _save(
    task: Task,
    optimizer: torch.optim.Optimizer,
    path: Path,
    identity: dict[str, Any],
    step: int,
    curve: list[Metrics],
) -> None:
    tensors = training_state(task.module, optimizer) | {f"task.{k}": v for k, v in task.state.items()}
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    save_tensors(path, tensors, seal({"identity": identity, "step": step, "curve": curve, "shapes": shapes}))


def run_identity(identity: dict[str, Any], schedule: Schedule) -> dict[str, Any]:
    """What a checkpoint has to say of itself to be continued."""
    return identity | {"schedule": schedule.record()}


def read_checkpoint(path: Path, identity: dict[str, Any]) -> tuple[dict[str, Tensor], _Kept]:
    """Tensors of a training's checkpoint, and what it says; CheckpointError when it is damaged or of another run."""
    tensors, meta = load_tensors(path)
    kept = decode(meta, _Kept, str(path), REMEDY, CheckpointError)
    check_seal(meta, str(path), REMEDY, CheckpointError)
    if kept.shapes is not None and kept.shapes != {name: list(tensor.shape) for name, tensor in tensors.items()}:
        raise CheckpointError(f"{path}: holds other tensors than it was written with; {REMEDY}")
    if kept.identity != identity:
        differing = sorted(k for k in {*identity, *kept.identity} if kept.identity.get(k) != identity.get(k))
        raise CheckpointError(f"{path}: belongs to a run with other {', '.join(differing)}; choose another --runs")
    return tensors, kept


def _resume(
    task: Task, optimizer: torch.optim.Optimizer, path: Path | None, identity: dict[str, Any]
) -> tuple[int, list[Metrics]]:
    if path is None or not path.exists():
        return 0, []
    tensors, kept = read_checkpoint(path, identity)
    try:
        restore_training_state(tensors, task.module, optimizer)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: tensors that do not fit this training ({printable(error)}); {REMEDY}"
        ) from error
    state = {k.removeprefix("task."): v for k, v in tensors.items() if k.startswith("task.")}
    device = device_of(task.module)
    task.state = {k: v.to(task.state[k].device if k in task.state else device) for k, v in state.items()}
    return kept.step, kept.curve
