"""Measured results as JSON files: every number with where, how and on how many images it was measured."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import puvae_rt
from puvae_rt.errors import BundleError, ResultsError
from puvae_rt.runtime.fields import Fields
from puvae_rt.runtime.machine import available_cpus, cpu_model

Row = dict[str, Any]
Reader = Callable[[Fields, str], object]

DEFENSE_FILE, ADAPTIVE_FILE, SIGMA_FILE = "defense.json", "adaptive.json", "sigma.json"
BASELINES = Path("results", "baselines")  # weights of what PuVAE is compared with, by dataset
TIMING_FILE, BUDGET_FILE = "timing.json", "budget.json"
MEASURED = "measured"
CONFIDENCE_Z = 1.959964  # two-sided 95%
_REMEDY = "measure it again with `python -m puvae_rt.evaluate`, or move the file away"


def _share(fields: Fields, key: str) -> float:
    if (value := fields.number(key)) > 1:
        raise ResultsError(f"{key}: got {value}, expected 0 to 1; {_REMEDY}")
    return value


_WHERE: dict[str, Reader] = {
    "seed": Fields.integer,
    "seconds": Fields.number,
    "machine": Fields.text,
    "commit": Fields.text,
    "evidence": Fields.text,
}
_ACCURACY: dict[str, Reader] = {
    "n": lambda fields, key: fields.integer(key, 1),
    "accuracy": _share,
    "ci_low": _share,
    "ci_high": _share,
}
_CELL: dict[str, Reader] = {
    "dataset": Fields.name,
    "classifier": Fields.text,
    "attack": Fields.text,
    "targeted": Fields.flag,
    "epsilon": _share,  # or null, where the attack has no L-infinity bound
    "defense": Fields.text,
}
SCHEMAS: dict[str, dict[str, Reader]] = {
    DEFENSE_FILE: _CELL | _ACCURACY | _WHERE,
    ADAPTIVE_FILE: _CELL | _ACCURACY | _WHERE,
    SIGMA_FILE: _CELL | _ACCURACY | _WHERE | {"sigma_eps": Fields.number, "pictures": Fields.text},
    BUDGET_FILE: _CELL | _ACCURACY | _WHERE,
    TIMING_FILE: {
        "dataset": Fields.name,
        "defense": Fields.text,
        "batch": lambda fields, key: fields.integer(key, 1),
        "repeats": lambda fields, key: fields.integer(key, 1),
        **_WHERE,
    },
}


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file, each checked against the file's schema; none when there is no such file.

    Raises:
        ResultsError: not JSON, or a row with a field missing or out of range.
    """
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_text("utf-8"))
        Fields(document, str(path), _REMEDY).children("results")
        for place, row in enumerate(document["results"]):
            _check(row, SCHEMAS[path.name], f"{path}: results[{place}]")
    except (BundleError, ResultsError) as error:
        raise ResultsError(str(error)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: not readable as results ({error}); {_REMEDY}") from error
    return list(document["results"])


def _check(row: Row, schema: dict[str, Reader], where: str) -> None:
    fields = Fields(row, where, _REMEDY)
    for key, read in schema.items():
        if key not in row:
            raise ResultsError(f"{where}: {key} is missing, expected {', '.join(schema)}; {_REMEDY}")
        if not (key == "epsilon" and row[key] is None):
            read(fields, key)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps({"results": list(rows)}, indent=1) + "\n", "utf-8")
    part.replace(path)


def keep(path: Path, wanted: Row, identity: Sequence[str], measure: Callable[[], Row]) -> tuple[Row, bool]:
    """The stored row that agrees with all of `wanted`, or one measured now and stored; and whether it was stored.

    A row that agrees in `identity` alone was measured on other weights or settings: the new one takes its place.
    """
    wanted = json.loads(json.dumps(wanted))  # as it is read back: tuples are lists
    for row in read_rows(path):
        if all(row.get(key) == value for key, value in wanted.items()):
            return row, True
    measured = wanted | measure() | provenance()
    rows = read_rows(path)  # again: another run may have written meanwhile
    kept = [row for row in rows if any(row.get(key) != measured[key] for key in identity)]
    write_rows(path, [*kept, measured])
    return measured, False


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95% confidence interval of a share (Wilson 1927), inside [0,1] also at 0 and n hits."""
    z2 = CONFIDENCE_Z**2
    centre = (hits + z2 / 2) / (n + z2)
    half = CONFIDENCE_Z / (n + z2) * math.sqrt(hits * (n - hits) / n + z2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy_fields(hits: int, n: int) -> Row:
    low, high = wilson(hits, n)
    return {"n": n, "accuracy": hits / n, "ci_low": low, "ci_high": high}


def provenance() -> Row:
    """Where a number was measured, and with which code."""
    return {"machine": f"{cpu_model()}, {available_cpus()} CPUs", "commit": _commit(), "evidence": MEASURED}


def _commit() -> str:
    """The commit of this checkout, "+" behind it when files were changed; the version of an installed package."""
    folder = Path(puvae_rt.__file__).parent
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found = ""
    return found or f"v{puvae_rt.__version__}"
