"""Where PyTorch computes, for trainings and evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn

from puvae_rt.errors import ContractError
from puvae_rt.training.settings import AUTO, DEVICES

CPU = torch.device("cpu")


def resolve(asked: str = AUTO) -> torch.device:
    """The device of that name; "auto" is a GPU where PyTorch can compute on one, else the CPU.

    On a GPU FP32 is FP32 from then on: convolutions are not rounded to TF32.

    Raises:
        ContractError: another name, or "cuda" where PyTorch finds no GPU.
    """
    if asked not in DEVICES:
        raise ContractError(f"device {asked!r}: expected one of {', '.join(DEVICES)} (--device)")
    if asked == CPU.type or (asked == AUTO and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise ContractError(f"device cuda: {_obstacle()} or leave --device out to compute on the CPU")
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", torch.cuda.current_device())


def _obstacle() -> str:
    """Why PyTorch finds no GPU, and what to do."""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA; install a build with it (https://pytorch.org),"
    found = f"PyTorch {torch.__version__}, built with CUDA {torch.version.cuda}, finds no GPU"
    return f"{found}; see whether `nvidia-smi` shows one and CUDA_VISIBLE_DEVICES hides it,"


def described(device: torch.device) -> str:
    """The device in words, for people."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def gpu_name(device: torch.device) -> str | None:
    """The name of a GPU, as results tell it; None of the CPU."""
    return None if device.type == CPU.type else torch.cuda.get_device_name(device)


def clock_of(device: torch.device) -> Callable[[], float]:
    """A clock, in seconds, that is read once the device has done what it was told to: a GPU works on behind a call."""
    if device.type != "cuda":
        return time.perf_counter

    def read() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return read


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU for one without any."""
    return next((parameter.device for parameter in module.parameters()), CPU)


def forked_random(device: torch.device) -> AbstractContextManager[None]:
    """Within it, what is drawn on the CPU or the device leaves the caller's random state alone."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
