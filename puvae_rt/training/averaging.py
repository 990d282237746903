"""The moving average of a network's weights, kept in its task's state from step to step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

AVERAGED, WARM_UP = 1000, 10  # weights are averaged over about 1,000 steps; a tenth of all at first
_NAME = "average."  # before the names of the averaged weights in the task's state


def average_of(module: nn.Module) -> dict[str, Tensor]:
    """The average before the first step, as entries of a task's state: the weights themselves."""
    return {f"{_NAME}{name}": value.clone() for name, value in module.state_dict().items()}


def take_in(state: dict[str, Tensor], module: nn.Module, steps: int) -> None:
    """Takes the module's weights after `steps` steps into the average; the random start is soon forgotten.

    What is not a floating-point number (a count of batches) is not averaged but taken over.
    """
    share = max(WARM_UP / (WARM_UP + steps), 1 / AVERAGED)
    for name, value in module.state_dict().items():
        kept = state[_NAME + name]
        state[_NAME + name] = torch.lerp(kept, value, share) if value.is_floating_point() else value.clone()


def averaged_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The averaged weights by their names in the module."""
    return {name.removeprefix(_NAME): value for name, value in state.items() if name.startswith(_NAME)}
