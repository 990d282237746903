"""What a training is asked for. Light: the command line reads its defaults here without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from puvae_rt.training.recipes import FINE_TUNING, PRIOR_SCHEDULE, PUVAE_SCHEDULE, SHIPPED_RANKS

RUNS = Path("runs")
AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda")
FP32, BF16 = "fp32", "bf16"
PRECISIONS = (AUTO, FP32, BF16)  # of the multiplications; "auto" depends on the machine, so that a call says fp32


class TrainSettings(NamedTuple):
    """What `puvae train` was asked for; None is the default of the recipes."""

    dataset: str = "mnist"
    data: Path | None = None
    out: Path = RUNS
    recipe: str = "ours"
    targets: Sequence[str] = ("A",)
    epochs: int | None = None
    classifier_epochs: int | None = None
    batch: int = PUVAE_SCHEDULE.batch
    limit: int | None = None
    precision: str = FP32
    ranks: Sequence[int] | None = None  # FC1, FC2, trunk
    replays: int | None = None
    source_weight: float | None = None  # the recipe's `source`
    normalized: bool = False  # PuVAE; of pictures taken in any light it is anyway
    ranking_weight: float | None = None  # the recipe's `ranking`
    augment: bool = False
    augment_source: bool = False
    learning_rate: float = PUVAE_SCHEDULE.learning_rate
    init: Path | None = None  # weights of PuVAE
    device: str = AUTO


class PriorSettings(NamedTuple):
    """What `puvae train-prior` was asked for; None is the default of the schedule."""

    dataset: str = "mnist"
    data: Path | None = None
    out: Path = RUNS
    puvae: Path | None = None  # weights of the PuVAE that the prior is for; None is the one in `out`
    epochs: int | None = None
    batch: int = PRIOR_SCHEDULE.batch
    limit: int | None = None
    precision: str = FP32
    device: str = AUTO


class BaselineSettings(NamedTuple):
    """What `puvae train-baselines` was asked for; None is the default of the schedule or the dataset."""

    dataset: str
    baseline: str
    data: Path | None = None
    out: Path = RUNS
    targets: Sequence[str] = ("A",)
    epsilon: float | None = None
    epochs: int | None = None
    batch: int | None = None
    limit: int | None = None
    precision: str = FP32
    device: str = AUTO


@dataclass(frozen=True)
class SearchSettings:
    """What `puvae search` was asked for."""

    dataset: str = "mnist"
    data: Path | None = None
    runs: Path = RUNS
    out: Path = Path("results")
    images: int = 25_000  # training images of a trial
    epochs: int = 3  # of a trial
    validation: int = 1000  # images
    seed: int = 0
    device: str = AUTO


@dataclass(frozen=True)
class LowRankSettings:
    """What `puvae low-rank` was asked for."""

    dataset: str = "mnist"
    data: Path | None = None
    runs: Path = RUNS
    puvae: str = "puvae_ours"  # name of the full model's file
    fc1: int | None = SHIPPED_RANKS.fc1
    fc2: int | None = SHIPPED_RANKS.fc2
    trunk: int | None = SHIPPED_RANKS.trunk
    epochs: int = FINE_TUNING.epochs  # of the training behind the factoring
    validation: int = 2000  # images of the report
    device: str = AUTO
