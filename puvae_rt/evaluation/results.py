"""Measured results as JSON files: every number with where, how and on how many images it was measured."""

from __future__ import annotations

import functools
import json
import math
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from puvae_rt._moved import renamed
from puvae_rt.contract import MEASURED
from puvae_rt.errors import ResultsError
from puvae_rt.files import locked, write_json
from puvae_rt.runtime.machine import available_cpus, cpu_model
from puvae_rt.schema import AboveZero, Count, Name, NonNegative, Positive, Share, Text, decode, read_json
from puvae_rt.version import __version__

Row = dict[str, Any]

DEFENSE_FILE, ADAPTIVE_FILE, SIGMA_FILE = "defense.json", "adaptive.json", "sigma.json"
BEYOND_FILE, CONDITIONS_FILE, CERTIFICATE_FILE = "beyond.json", "conditions.json", "certificate.json"
IDENTITY = (
    "dataset",
    "classifier",
    "attack",
    "targeted",
    "epsilon",
    "defense",
)  # of a cell's row: what tells cells apart
BASELINES = Path("results", "baselines")  # weights of what PuVAE is compared with, by dataset
TIMING_FILE, BUDGET_FILE = "timing.json", "budget.json"
MAX_BYTES = 64 << 20
CONFIDENCE_Z = 1.959964  # two-sided 95%
_PACKAGE = Path(__file__).parents[1]
_CODE = (":(top)", ":(top,exclude)results", ":(top,exclude)docs", ":(top,exclude)*.md")  # what a number can depend on
_REMEDY = "measure it again with `puvae evaluate`, or move the file away"


@dataclass(frozen=True)
class _Measured:
    """What every row says: how and where its number came about."""

    seed: Count
    seconds: NonNegative
    machine: Text
    commit: Text
    evidence: Text


@dataclass(frozen=True, kw_only=True)
class _Cell(_Measured):
    """An accuracy on `n` images with its 95% interval; where it was kept, image by image as well."""

    dataset: Name
    classifier: Text
    attack: Text
    targeted: bool
    epsilon: Share | None  # None: the attack has no L-infinity bound
    defense: Text
    n: Positive
    accuracy: Share
    ci_low: Share
    ci_high: Share
    standing: Annotated[str, Meta(pattern=r"\A[01]*\Z", description="text of 0 and 1")] | None = None
    image_set: Text | None = None

    def __post_init__(self) -> None:
        if self.standing is None:
            return
        if len(self.standing) != self.n or abs(self.standing.count("1") - self.accuracy * self.n) > 1e-6 * self.n:
            raise ValueError(f"standing: got {len(self.standing)} marks, expected {self.n} with the row's accuracy")


@dataclass(frozen=True, kw_only=True)
class _SigmaCell(_Cell):
    sigma_eps: NonNegative
    pictures: Text


@dataclass(frozen=True, kw_only=True)
class _SizedCell(_Cell):
    """An accuracy under a perturbation that has another measure than L-infinity."""

    size: NonNegative


@dataclass(frozen=True, kw_only=True)
class _Condition(_Measured):
    """What RobustBench asks of a defense, measured."""

    dataset: Name
    classifier: Text
    defense: Text
    n: Positive
    zero_gradients: Share  # of the entries of the input gradients
    images_without_gradient: Share
    largest_difference: NonNegative  # of a logit, between two passes
    passes_that_differentiate: Count
    loops: Count  # operators of the deployed graph
    met: bool


@dataclass(frozen=True, kw_only=True)
class _Certificate(_Measured):
    """Certified radii of images, 0 for one that is wrong or not certified."""

    dataset: Name
    classifier: Text
    defense: Text
    n: Positive
    sigma: AboveZero
    copies: Positive
    radii: list[NonNegative]
    abstained: Count

    def __post_init__(self) -> None:
        if len(self.radii) != self.n:
            raise ValueError(f"radii: got {len(self.radii)}, expected {self.n}")


@dataclass(frozen=True)
class _Timing(_Measured):
    dataset: Name
    defense: Text
    batch: Positive
    repeats: Positive


@dataclass(frozen=True)
class _Stored:
    results: list[dict[str, Any]]


_ROWS: dict[str, type] = {
    DEFENSE_FILE: _Cell,
    ADAPTIVE_FILE: _Cell,
    SIGMA_FILE: _SigmaCell,
    BEYOND_FILE: _SizedCell,
    CONDITIONS_FILE: _Condition,
    CERTIFICATE_FILE: _Certificate,
    BUDGET_FILE: _Cell,
    TIMING_FILE: _Timing,
}


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file, each checked against the file's schema; none when there is no such file.

    Raises:
        ResultsError: not JSON, or a row with a field missing or out of range.
    """
    if not path.exists():
        return []
    document = read_json(path, MAX_BYTES, _REMEDY, ResultsError)
    rows = decode(document, _Stored, str(path), _REMEDY, ResultsError).results
    for place, row in enumerate(rows):
        decode(row, _ROWS[path.name], f"{path}: results[{place}]", _REMEDY, ResultsError)
    return rows


def require_results(folder: Path) -> None:
    """Raise a ResultsError for a folder that holds nothing measured; a file in its place is refused by what writes."""
    if not folder.is_file() and not any((folder / name).exists() for name in _ROWS):
        raise ResultsError(
            f"{folder}: holds none of {', '.join(_ROWS)}, expected a folder of measured results; "
            "measure first, or name the folder (--results)"
        )


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes the file whole or not at all."""
    write_json(path, {"results": list(rows)})


def measure_once(
    path: Path, settings: Row, key: Sequence[str], measure: Callable[[], Row], gpu: str | None = None
) -> tuple[Row, bool]:
    """The stored row with all of `settings`, or else a new one, measured and stored; and whether it was stored before.

    Several processes may measure into one file at once. A row counts wherever it was measured; its machine tells.

    Args:
        path: a results file, by whose name its rows are checked.
        settings: what the row is to be measured at.
        key: the settings that tell rows apart. A stored row with the same key and other settings was measured on other
            weights, and is replaced.
        measure: gives the measured fields; called only when there is no such row.
        gpu: the GPU that it computes on; None is the CPU.
    Raises:
        ResultsError: the file is damaged.
        FileError: it cannot be written, or another process keeps it locked.
    """
    wanted = json.loads(json.dumps(settings))  # as it is read back: tuples are lists
    for row in read_rows(path):
        if all(row.get(name) == value for name, value in wanted.items()):
            return row, True
    where = provenance(gpu)  # the code as it is now, not as somebody changes it during the measurement
    measured = wanted | measure() | where
    with locked(path):
        rows = read_rows(path)  # again: another run may have written meanwhile
        kept = [row for row in rows if any(row.get(name) != measured[name] for name in key)]
        write_rows(path, [*kept, measured])
    return measured, False


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95% confidence interval of a share (Wilson 1927), inside [0,1] also at 0 and n hits."""
    z2 = CONFIDENCE_Z**2
    centre = (hits + z2 / 2) / (n + z2)
    half = CONFIDENCE_Z / (n + z2) * math.sqrt(hits * (n - hits) / n + z2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_fields(hits: int, n: int) -> Row:
    """The accuracy of `hits` right answers out of `n`, with its 95% interval, as fields of a row."""
    low, high = wilson(hits, n)
    return {"n": n, "accuracy": hits / n, "ci_low": low, "ci_high": high}


def provenance(gpu: str | None = None) -> Row:
    """Where a number was measured, on a GPU if one is named, and with which code, as fields of a row."""
    machine = f"{f'{gpu}, ' if gpu else ''}{cpu_model()}, {available_cpus()} CPUs"
    return {"machine": machine, "commit": commit(_PACKAGE), "evidence": MEASURED}


@functools.cache
def commit(package: Path) -> str:
    """The commit of the checkout that tracks the package, "+" behind it when its code was changed since.

    It is asked for once. An installed package has its version instead, also inside another project's repository.
    """
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        head = _git(package, "rev-parse", "--short", "HEAD")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    except (OSError, subprocess.SubprocessError):
        return f"v{__version__}"
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    """What git says of the repository round `folder`, whatever repository the environment names."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
    return done.stdout.strip()


__getattr__ = renamed(__name__, {"keep": "measure_once"})
