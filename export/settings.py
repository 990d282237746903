"""What can be asked of a build. Light: the command line reads its defaults here without ONNX."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from puvae_rt._moved import renamed
from puvae_rt.contract import MAX_BATCH
from puvae_rt.errors import ContractError
from puvae_rt.gpu.tensorrt.library import (
    COMPUTE_CAPABILITIES,
    DEFAULT_COMPUTE_CAPABILITIES,
    check_compute_capabilities,
)
from puvae_rt.runtime.arguments import MODEL_PRIOR, Choice
from puvae_rt.runtime.bundle import CPU
from puvae_rt.runtime.manifest import TARGETS

__all__ = [
    "COMPUTE_CAPABILITIES",
    "DEFAULT_COMPUTE_CAPABILITIES",
    "EXACT",
    "FP16",
    "FP32",
    "LARGE",
    "MAX_BATCH",
    "PASSES",
    "PRECISIONS",
    "RANK",
    "BuildSettings",
]

FP32, FP16 = "fp32", "fp16"
PRECISIONS = (FP32, FP16)
NONE, EXACT = "none", "exact"
PASSES = (NONE, EXACT)
# Of a classifier's fully connected layers:
LARGE = 1_000_000  # weights of one that is made thin, 2 MB in FP16
RANK = 32  # three classifiers of one data set in 4 MB of FP16
DEFAULT_BATCH = (1, 8)


@dataclass(frozen=True)
class BuildSettings:
    """What to build; ContractError names the option to change, BuildError what a target cannot do.

    Attributes:
        model: a shipped name, a .safetensors checkpoint, or an .onnx of ours.
        out: the folder in which the bundle's own is made.
        target: "cpu", "native", "rtx" or "tensorrt".
        precision: "fp32" or "fp16".
        passes: "exact", or "none" for the slow reference.
        sigma: scale of the sampling noise; 0 is deterministic.
        prior: "model" chooses with the model's own prior, if it has one; "none" by distance alone.
        shortlist: how many classes are decoded, those that the prior ranks first; None is the model's own number, and
            all without the exact passes.
        batch: the smallest and the largest size to compile for; a single one is both.
        compute_capabilities: GPUs to compile for, such as "8.6"; None is every supported one.
        classifier: "none", a shipped one's name or a file; None is the shipped model's default.
        samples: test images for the gate, .npz; None is those shipped.
        data: the dataset to verify on; None: only where no samples are given or shipped.
        verify: whether the engine has to pass the quality gate.
    """

    model: str
    out: Path
    target: str = CPU
    precision: str = FP32
    passes: str = EXACT
    sigma: float = 0.0
    batch: tuple[int, ...] = DEFAULT_BATCH
    compute_capabilities: tuple[str, ...] | None = None
    classifier: str | None = None
    samples: Path | None = None
    data: Path | None = None
    verify: bool = True
    prior: str = MODEL_PRIOR
    shortlist: int | None = None

    def __post_init__(self) -> None:
        for flag, value, allowed in (
            ("target", self.target, TARGETS),
            ("precision", self.precision, PRECISIONS),
            ("passes", self.passes, PASSES),
        ):
            if value not in allowed:
                raise ContractError(f"--{flag} {value}: expected one of {', '.join(allowed)}")
        if self.choice.shortlist is not None and self.passes == NONE:
            raise ContractError(
                f"--shortlist {self.shortlist} with --passes none, which decodes every class; leave one of them out"
            )
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ContractError(f"--sigma {self.sigma}: expected a finite number >= 0; the paper's choice is 0.1")
        if not self.batch or any(not 1 <= size <= MAX_BATCH for size in self.batch):
            raise ContractError(f"--batch {self.batch}: expected sizes from 1 to {MAX_BATCH}, such as 1,8")
        if len(self.batch) > 2:
            raise ContractError(f"--batch {self.batch}: expected one size, or the smallest and largest, such as 1,8")
        for flag, given in (("samples", self.samples), ("data", self.data)):
            if given is not None and not self.verify:
                raise ContractError(
                    f"--{flag} {given}: expected none with --no-verify, which takes no images; leave one of them out"
                )
        check_compute_capabilities(self.target, self.compute_capabilities)

    @property
    def choice(self) -> Choice:
        """How the projection is chosen."""
        return Choice(self.prior, self.shortlist)

    @property
    def inputs(self) -> dict[str, Path | str | None]:
        """The paths that are read, by the option that names each."""
        return {
            "--model": self.model,
            "--classifier": self.classifier,
            "--samples": self.samples,
            "--data": self.data,
        }

    @property
    def capabilities(self) -> tuple[str, ...]:
        """GPUs to compile for; none where the target builds for its own machine."""
        return check_compute_capabilities(self.target, self.compute_capabilities)


__getattr__ = renamed(__name__, {"Settings": "BuildSettings"})
