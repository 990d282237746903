"""Attacked test images, made once for each classifier and attack, so that every defense sees the same.

They are made and stored in chunks: a run that is killed in the middle of an attack goes on behind the last chunk,
and the first n images are the same whatever n was asked for. A GPU rounds in other ways than a CPU does; what it
attacks is kept in files of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from puvae_rt.attacks.white_box import carlini_wagner_l2, fgsm, ifgsm, rand_fgsm, random_targets
from puvae_rt.data import Split
from puvae_rt.data.archive import open_archive
from puvae_rt.errors import ResultsError
from puvae_rt.evaluation.cells import CW, FGSM, IFGSM, NONE, RAND_FGSM, Cell
from puvae_rt.files import atomic_file
from puvae_rt.training.device import CPU

CHUNK = 100  # images attacked together
FOLDER = "attacked"


class Victim(NamedTuple):
    """The classifier that is attacked; `digest` identifies its weights."""

    model: nn.Module
    digest: str


def attacked_images(
    cell: Cell,
    count: int,
    test: Split,
    classes: int,
    alpha: float,
    victim: Victim,
    seed: int,
    models: Path,
    device: torch.device = CPU,
) -> Tensor:
    """The first `count` test images after the cell's attack on `victim`, [count,C,H,W] in [0,1], on `device`.

    The victim has to be there. The images are kept under `models`, the folder of the trained models; `alpha` is
    RAND+FGSM's random step.
    """
    images = torch.from_numpy(test.batch(slice(0, count))[0])
    if cell.attack == NONE:
        return images.to(device)
    labels = torch.from_numpy(test.labels)
    aims = random_targets(labels, classes, torch.Generator().manual_seed(seed)) if cell.targeted else labels
    path = models / cell.dataset / FOLDER / _file_name(cell, victim.digest, alpha, seed, device)
    done = _read(path, images)
    while len(done) < count:
        chunk = len(done) // CHUNK
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        x, aimed = torch.from_numpy(test.batch(part)[0]).to(device), aims[part].to(device)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + chunk)
        made = _attack(cell, alpha, victim.model, x, aimed, generator)
        done = torch.cat([done, made.cpu()])
        _write(path, done)
    return done[:count].to(device)


def _attack(cell: Cell, alpha: float, model: nn.Module, x: Tensor, aims: Tensor, generator: torch.Generator) -> Tensor:
    if cell.attack == CW:
        return carlini_wagner_l2(model, x, aims, cell.targeted)
    assert cell.epsilon is not None  # Cell checks it
    if cell.attack == RAND_FGSM:
        return rand_fgsm(model, x, aims, cell.epsilon, min(alpha, cell.epsilon), generator, cell.targeted)
    attack = {FGSM: fgsm, IFGSM: ifgsm}[cell.attack]
    return attack(model, x, aims, cell.epsilon, cell.targeted)


def _file_name(cell: Cell, digest: str, alpha: float, seed: int, device: torch.device) -> str:
    bound = "" if cell.epsilon is None else f"-{cell.epsilon:g}"
    start = f"-alpha{alpha:g}" if cell.attack == RAND_FGSM else ""
    aim = "targeted" if cell.targeted else "untargeted"
    place = "" if device.type == CPU.type else f"-{device.type}"
    return f"{cell.classifier}-{digest}-{cell.attack}{bound}{start}-{aim}-seed{seed}{place}.npz"


def _read(path: Path, like: Tensor) -> Tensor:
    """The chunks that are there already."""
    if not path.exists():
        return like[:0]
    with open_archive(path, "readable", "delete it, it will be made again", ResultsError) as file:
        stored = file.array("images")
    if stored.dtype != np.float32 or stored.shape[1:] != like.shape[1:]:
        raise ResultsError(f"{path}: {stored.dtype} {stored.shape}, expected float32 [N, {like.shape[1:]}]; delete it")
    return torch.from_numpy(stored)


def _write(path: Path, images: Tensor) -> None:
    with atomic_file(path) as part:
        np.savez(part, images=images.numpy())
