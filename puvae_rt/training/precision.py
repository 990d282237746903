"""The number format of a training's multiplications: asked for, that of the files it goes on from, or measured."""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from puvae_rt.errors import CheckpointError
from puvae_rt.models.checkpoint import opened
from puvae_rt.models.header import read_document
from puvae_rt.models.layout import channels_last
from puvae_rt.schema import decode
from puvae_rt.training.checkpoint import REMEDY
from puvae_rt.training.device import clock_of
from puvae_rt.training.plan import Stage
from puvae_rt.training.recipes import Schedule
from puvae_rt.training.settings import AUTO, BF16

WORTHWHILE = 1.1  # times faster that bfloat16 has to be
CHANNELS, SIDE, IMAGES, TURNS = 64, 16, 16, 5  # of the measured step


def in_precision(schedule: Schedule, stage: Stage, precision: str) -> Schedule:
    """The stage's schedule at a precision of `settings.PRECISIONS`.

    "auto" is what the stage's files were trained in, so that a training goes on anywhere; of a new one, the faster.

    Raises:
        CheckpointError: its files are damaged.
    """
    if precision != AUTO:
        return replace(schedule, bf16=precision == BF16)
    kept = [bf16 for file in (stage.weights, stage.checkpoint) if (bf16 := _recorded(file)) is not None]
    return replace(schedule, bf16=kept[0] if kept else speedup(stage.device.type) > WORTHWHILE)


@dataclass(frozen=True)
class _Recorded:
    bf16: bool = False


@dataclass(frozen=True)
class _Meta:
    """What weights, or a checkpoint's identity, say of their training."""

    schedule: _Recorded = _Recorded()


@functools.cache
def speedup(kind: str) -> float:
    """How many times faster a step of a convolution is in bfloat16 than in FP32, measured in turns, medians."""
    device = torch.device(kind)
    clock = clock_of(device)
    with torch.random.fork_rng(devices=[]):
        layer = channels_last(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(device))
        x = torch.rand(IMAGES, CHANNELS, SIDE, SIDE).to(device).contiguous(memory_format=torch.channels_last)
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(TURNS + 1):
        for bf16, seconds in taken.items():
            start = clock()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = F.relu(layer(x)).float().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            seconds.append(clock() - start)
    fp32, half = (statistics.median(seconds[1:]) for seconds in taken.values())  # the first warms up
    return fp32 / half


def _recorded(file: Path) -> bool | None:
    """Whether weights or a checkpoint say that they were trained in bfloat16; None where there are none."""
    if not file.is_file():
        return None
    with opened(file, "pt", CheckpointError, REMEDY) as weights:
        document = read_document(weights.metadata() or {}, str(file), REMEDY, CheckpointError)
    meta = document.get("identity", document)
    return decode(meta, _Meta, str(file), REMEDY, CheckpointError).schedule.bf16
