"""What a training is going to do, checked as a whole before its first step: hours later is too late to be refused."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib  # noqa: F401  # at once: every stage ends with a picture, and must not end for want of it
import torch

from puvae_rt.contract import ImageContract
from puvae_rt.data import Dataset
from puvae_rt.errors import CheckpointError, ContractError
from puvae_rt.scratch import file_error, told
from puvae_rt.training.artefacts import describe
from puvae_rt.training.device import CPU
from puvae_rt.training.loop import read_checkpoint, run_identity
from puvae_rt.training.recipes import Schedule

Reader = Callable[[Path], tuple[Any, dict[str, Any]]]  # path of weights -> model, metadata


class Stage(NamedTuple):
    """One model's files in the output folder, and where it is trained."""

    folder: Path
    name: str
    device: torch.device = CPU

    @property
    def weights(self) -> Path:
        """Its finished weights."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def checkpoint(self) -> Path:
        """What an interrupted training goes on from."""
        return self.folder / f"{self.name}.checkpoint.safetensors"

    @property
    def curve(self) -> Path:
        """The picture of its curve."""
        return self.folder / f"{self.name}.png"


class Plan(NamedTuple):
    """One stage: how it is trained, and what its files have to say of themselves to belong to it."""

    stage: Stage
    schedule: Schedule
    identity: dict[str, Any]  # of the checkpoint, besides the schedule
    wanted: dict[str, Any]  # in the metadata of finished weights
    read: Reader

    def check(self) -> None:
        """Raises CheckpointError when files of another training are in the way of this one."""
        for path in (self.stage.weights, self.stage.checkpoint, self.stage.curve):
            if path.is_dir():
                raise CheckpointError(f"{path}: is a folder, expected no file or this training's; move it away")
        if self.stage.weights.exists():
            self._read()
        elif self.stage.checkpoint.exists():
            read_checkpoint(self.stage.checkpoint, run_identity(self.identity, self.schedule))

    def finished(self) -> tuple[Any, dict[str, Any]]:
        """Model, on the stage's device, and metadata of the finished weights; CheckpointError when they are of another
        training."""
        model, meta = self._read()
        return model.to(self.stage.device), meta

    def _read(self) -> tuple[Any, dict[str, Any]]:
        model, meta = self.read(self.stage.weights)
        require_same(self.stage, meta, self.wanted)
        return model, meta


def require_same(stage: Stage, meta: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises CheckpointError when a stage's weights were trained otherwise than `wanted` has it."""
    differing = sorted(k for k, v in wanted.items() if meta.get(k) != json.loads(json.dumps(v)))
    if differing:
        raise CheckpointError(
            f"{stage.weights}: trained with other {', '.join(differing)}; move it away, or train into another folder"
        )


def images_of(dataset: Dataset) -> dict[str, Any]:
    """Classes and image shape, as every file of weights records them."""
    return {key: value for key, value in describe(dataset, "").items() if key in ("classes", "contract")}


def require_made_for(file: Path, meta: Mapping[str, Any], dataset: Dataset, remedy: str) -> None:
    """Raises ContractError when the weights in `file`, described by `meta`, are for other images or classes."""
    shape: list[int] = [meta["contract"][side] for side in ("channels", "height", "width")]
    if (shape, meta["classes"]) != ([*dataset.contract.shape], [*dataset.classes]):
        got = described(ImageContract(*shape), meta["classes"])
        expected = described(dataset.contract, dataset.classes)
        raise ContractError(f"{file}: made for {got}; expected {expected}, as in {dataset.name}; {remedy}")


def described(contract: ImageContract, classes: Sequence[str]) -> str:
    """Image shape and classes in words, for messages."""
    shape = "x".join(map(str, contract.shape))
    return f"{shape} images of {len(classes)} classes ({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''})"


def limited(dataset: Dataset, limit: int | None) -> Dataset:
    """The data set with its first `limit` training images only."""
    if limit is None:
        return dataset
    require_positive("limit", limit)
    return replace(dataset, train=dataset.train.head(limit))


def require_positive(option: str, count: int) -> None:
    """Raises ContractError, which names the option, when `count` is not positive."""
    if count < 1:
        raise ContractError(f"{option}={count}: expected at least 1 (--{option})")


def make_folder(folder: Path) -> None:
    """Make the folder and those above it; FileError where a file is in the place of one of them."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise file_error(place, "is a file, expected a folder to write into; give another path", errno.ENOTDIR)
    with told(folder, "cannot be made"):
        folder.mkdir(parents=True, exist_ok=True)
