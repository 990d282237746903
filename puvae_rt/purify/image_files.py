"""Folders of image files: a PNG for each, in the same tree, and results.csv beside them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from puvae_rt.data.folder import MAX_FILE_BYTES
from puvae_rt.errors import DataError, PuvaeError
from puvae_rt.purify.batch import COLUMNS, ERROR, Results
from puvae_rt.purify.chunks import Chunk, Items
from puvae_rt.purify.job import PARTS, Done, Job, Part, Report, Task, changed, digest
from puvae_rt.purify.places import Entry
from puvae_rt.purify.rows import FILE, Form, Inputs, to_form, to_inputs
from puvae_rt.refusal import printable
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.schema import parse

TABLE = "results.csv"
PNG = ".png"
MAX_PART_BYTES = 64 << 20
ROW, IMAGE, STAMP = "row", "image", "stamp"
_REMEDY = "remove it and run again"


def plan(job: Job, entries: list[Entry], done: Done) -> Iterator[Task]:
    """Chunks of the files that are not done, in the order of their names.

    Raises:
        ContractError: a file was changed since its result was written.
        DataError: two files' results would have one name.
    """
    _check_names(entries)
    finished = {row[ROW]: row[STAMP] for row in _rows(job)} if done.rows else {}
    for entry in entries:
        if finished.get(entry.name, entry.stamp) != entry.stamp:
            raise changed(entry.name)
    left = [entry for entry in entries if entry.name not in finished]
    for start in range(0, len(left), job.batch):
        these = left[start : start + job.batch]
        yield Task(tuple(entry.name for entry in these), tuple(entry.stamp for entry in these))


def load(job: Job, task: Task, purifier: Purifier) -> Items:
    """The one chunk of a task; a file that is gone is a broken row."""
    values, problems = [], []
    for name in task.files:
        try:
            data, problem = job.reads.read(name, MAX_FILE_BYTES), ""
        except PuvaeError as error:
            data, problem = None, printable(error)
        inputs = to_inputs([data], purifier.contract, [name])
        values.append(inputs.images)
        problems.append(problem or inputs.problems[0])
    names, stamp = list(task.files), digest(task.stamps, 4)
    yield Chunk(names[0], stamp, 0, names, Inputs(np.concatenate(values), problems), Form(FILE), task.stamps)


def write(job: Job, chunk: Chunk, results: Results) -> Report:
    """Writes the images, then the part that says that they are there."""
    files = to_form(results.images, chunk.form, results.errors)
    job.writes.write({out_name(name): data for name, data in zip(chunk.names, files, strict=True) if data})
    rows = [
        {ROW: name, STAMP: stamp, **{column: _plain(results.columns[column][i]) for column in COLUMNS}}
        for i, (name, stamp) in enumerate(zip(chunk.names, chunk.beside, strict=True))
    ]
    errors = tuple((name, error) for name, error in zip(chunk.names, results.errors, strict=True) if error)
    part = Part(digest(chunk.names), chunk.stamp, 0, len(rows), len(errors))
    job.writes.write({f"{PARTS}/{part.name('.json')}": json.dumps(rows, allow_nan=False).encode()})
    return Report(len(rows), errors)


def finish(job: Job) -> None:
    """Writes results.csv: a line for each image, by name."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, [ROW, IMAGE, *COLUMNS], extrasaction="ignore")
    table.writeheader()
    for row in sorted(_rows(job), key=lambda row: str(row[ROW])):
        table.writerow({**row, IMAGE: "" if row[ERROR] else out_name(row[ROW])})
    job.writes.write({TABLE: text.getvalue().encode()})


def out_name(name: str) -> str:
    """Of the PNG that is made of an image file: the same, with .png behind another suffix."""
    return name if name.lower().endswith(PNG) else name + PNG


def _rows(job: Job) -> Iterator[dict[str, Any]]:
    """The rows of all parts."""
    for entry in job.writes.files(PARTS):
        if Part.named(entry.name) is None:
            continue
        where = f"{job.output}/{entry.name}"
        rows = parse(job.writes.read(entry.name, MAX_PART_BYTES), where, _REMEDY, DataError)
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            raise DataError(f"{where}: got no list of results, expected what `puvae purify` wrote; {_REMEDY}")
        yield from rows


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and {ROW, STAMP, *COLUMNS} <= row.keys() and isinstance(row[ROW], str)


def _plain(value: Any) -> Any:
    """A NumPy scalar as JSON has it; NaN is null."""
    plain = value.item()
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _check_names(entries: list[Entry]) -> None:
    seen: dict[str, str] = {TABLE: TABLE}
    for entry in entries:
        if (other := seen.setdefault(out_name(entry.name), entry.name)) != entry.name:
            raise DataError(f"{entry.name} and {other}: both would become {out_name(entry.name)}; rename one")
