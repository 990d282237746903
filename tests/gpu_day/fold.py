"""Puts what came back into results/gpu.json, makes the tables of it, and says what the next call need not run again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from puvae_rt.errors import DataError
from puvae_rt.files import read_bytes, write_json, write_text
from puvae_rt.schema import NonNegative, Text, decode, one_of, parse
from tests.gpu_day import page
from tests.gpu_day.plan import (
    BY_NAME,
    DONE_FILE,
    FAILED,
    NOT_REACHED,
    PASSED,
    RESULTS_FILE,
    SKIPPED,
    TIMED_OUT,
    TRAINED,
)

MAX_BYTES = 16 << 20
STORED, MODEL = "gpu.json", "gpu_model.json"
PAGES = ("README.md", "docs/howto/gpu.md")
RANK = (PASSED, SKIPPED, TIMED_OUT, FAILED, NOT_REACHED)  # of what is kept where a stage came back twice
_REMEDY = "give the folders that came back from `python -m tests.gpu_day run`"


class Row(msgspec.Struct):
    """A stage as it came back."""

    status: Annotated[str, one_of(*RANK)]
    seconds: NonNegative
    device: Text
    found: dict[str, Any]
    commit: Text | None = None
    output: Text = ""


class Returned(msgspec.Struct):
    """A call as it came back; stages that are no longer planned are refused."""

    stages: Annotated[dict[str, Row], Meta(max_length=len(BY_NAME))]


def fold(folders: Sequence[Path], root: Path) -> bool:
    """Whether no stage that is stored has failed.

    Args:
        folders: of what came back, the earliest first; none makes the pages of what is stored.
        root: the checkout.
    Raises:
        DataError: a folder without results, or with others than ours.
    """
    results = root / "results"
    rows = read(results / STORED).stages if (results / STORED).is_file() else {}
    for folder in folders:
        rows = merged(rows, read(folder / RESULTS_FILE).stages)
        _carry_on(folder, rows, root / ".gpu")
    measured = {name: row for name, row in rows.items() if row.device == "cuda"}
    stages = {name: msgspec.to_builtins(measured[name]) for name in BY_NAME if name in measured}
    write_json(results / STORED, {"evidence": "measured" if stages else "not measured", "stages": stages})
    model = json.loads((results / MODEL).read_text("utf-8"))
    tables = {
        "gpu.md": page.measured(stages, model),
        "gpu_short.md": page.short(stages),
        "gpu_model.md": page.modelled(model),
    }
    for name, text in tables.items():
        write_text(results / name, text)
    for name in PAGES:
        _place(root / name, tables)
    for name, row in rows.items():
        print(f"{name:16s} {row.status:12s} {row.seconds:6.1f} s  {row.device}")
    return all(row.status in (PASSED, SKIPPED) for row in rows.values())


def read(path: Path) -> Returned:
    """A call's results, checked; DataError for what is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; {_REMEDY}")
    document = parse(read_bytes(path, MAX_BYTES), str(path), _REMEDY, DataError)
    returned = decode(document, Returned, str(path), _REMEDY, DataError)
    if unknown := returned.stages.keys() - BY_NAME.keys():
        raise DataError(f"{path}: stages {', '.join(sorted(unknown))}, expected some of {', '.join(BY_NAME)}")
    return returned


def merged(before: dict[str, Row], later: dict[str, Row]) -> dict[str, Row]:
    """Of each stage the later row, unless it says less: a failure replaces no success."""
    rows = dict(before)
    for name, row in later.items():
        if name not in rows or RANK.index(row.status) <= RANK.index(rows[name].status):
            rows[name] = row
    return rows


def _carry_on(folder: Path, rows: dict[str, Row], carried: Path) -> None:
    """For the next call: finished stages are not run again, and trainings go on."""
    carried.mkdir(exist_ok=True)
    (carried / ".gitignore").write_text("*\n")
    write_json(carried / DONE_FILE, {"stages": msgspec.to_builtins(rows)})
    parts = sorted(folder.glob(f"{TRAINED}.*"))
    if parts:
        for old in carried.glob(f"{TRAINED}.*"):
            old.unlink()
    for part in parts:
        shutil.copy(part, carried / part.name)


def _place(path: Path, tables: dict[str, str]) -> None:
    """Put tables of results/ between their marks on a page."""
    if not path.is_file():
        return
    text = path.read_text("utf-8")
    for name, table in tables.items():
        marked = re.compile(rf"(<!-- table: results/{re.escape(name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text = marked.sub(lambda match, table=table: f"{match[1]}{table.strip()}{match[2]}", text)
    write_text(path, text)
