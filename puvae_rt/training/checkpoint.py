"""Checkpoints without pickle: tensors in a safetensors file, everything else in its JSON header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from puvae_rt.errors import CheckpointError
from puvae_rt.models.checkpoint import opened
from puvae_rt.models.header import META_KEY, read_document
from puvae_rt.training.device import device_of
from puvae_rt.weights_file import atomic_weights

_GPU_RNG = "rng_cuda"  # of a training on a GPU; one that goes on from a CPU's checkpoint starts from its seed
REMEDY = "delete it to start afresh, or give a .safetensors that `puvae train` wrote"


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Writes both to `path`, from whatever device, whole or not at all; CheckpointError when it cannot be written."""
    with atomic_weights(path) as part:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, {META_KEY: json.dumps(meta)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint, and its metadata; CheckpointError when it is absent, damaged or not one of ours."""
    with opened(path, "pt", CheckpointError, REMEDY) as file:
        meta = read_document(file.metadata() or {}, str(path), REMEDY, CheckpointError)
        return {k: file.get_tensor(k) for k in file.keys()}, meta  # noqa: SIM118 (not a mapping)


def training_state(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The weights, the optimizer's moments and the random generators: all that the next step depends on."""
    tensors = {f"model.{k}": v for k, v in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    tensors["rng"] = torch.get_rng_state()
    if (device := device_of(module)).type == "cuda":
        tensors[_GPU_RNG] = torch.cuda.get_rng_state(device)
    return tensors


def restore_training_state(
    tensors: dict[str, Tensor], module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Put weights, moments and the random generators back as `training_state` took them."""
    module.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, moments in optimizer.state.items():  # in the parameter's memory order: a fused step assumes it
        for key, value in moments.items():
            if value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)
    torch.set_rng_state(tensors["rng"])
    if (device := device_of(module)).type == "cuda" and _GPU_RNG in tensors:
        torch.cuda.set_rng_state(tensors[_GPU_RNG], device)
