""".npz files: the same file again, its images purified and the results beside them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puvae_rt.data.archive import open_archive
from puvae_rt.errors import DataError
from puvae_rt.purify.batch import Results, renamed
from puvae_rt.purify.chunks import Chunk, Finished, Items
from puvae_rt.purify.job import PARTS, Done, Job, Part, Report, Task, digest
from puvae_rt.purify.places import Entry
from puvae_rt.purify.rows import form_of, to_form, to_inputs
from puvae_rt.runtime.purifier import Purifier

MAX_PART_BYTES = 1 << 30
_USUAL = ("image", "images", "x")  # what an array of images is called
_KEPT = "image"  # in a part
_IMAGE_DIMENSIONS = (3, 4)


def plan(job: Job, entries: list[Entry], done: Done) -> Iterator[Task]:
    """A task for each file that is not finished; ContractError where one was changed."""
    for entry in entries:
        parts = done.of(entry)
        if all(part.start is not None for part in parts):
            starts = tuple(sorted(part.start for part in parts if part.start is not None))
            yield Task((entry.name,), (entry.stamp,), done=starts)


def load(job: Job, task: Task, purifier: Purifier) -> Items:
    """The chunks of a file that are not done; DataError where it is damaged or has no images."""
    name, stamp = task.files[0], task.stamps[0]
    with job.reads.as_path(name) as path, open_archive(path, "a readable .npz", "fetch or write it again") as file:
        names = sorted(file.names)
        arrays = {each: file.array(each) for each in names}
    column = _column(arrays, job.column, name)
    images = arrays.pop(column)
    beside = {each: array for each, array in arrays.items() if array.ndim and len(array) == len(images)}
    for start in range(0, len(images), job.batch):
        if start not in task.done:
            rows = images[start : start + job.batch]
            keys = [f"{name}#{row}" for row in range(start, start + len(rows))]
            inputs = to_inputs(rows, purifier.contract, keys)
            yield Chunk(name, stamp, start, keys, inputs, form_of(images))
    yield Finished(name, stamp, len(images), {"column": column, "beside": beside})


def write(job: Job, chunk: Chunk, results: Results) -> Report:
    """Writes the part of a chunk: images in the form of the input, and results."""
    errors = tuple((name, error) for name, error in zip(chunk.names, results.errors, strict=True) if error)
    part = Part(digest([chunk.file]), chunk.stamp, chunk.start, len(chunk.names), len(errors))
    images = to_form(results.images, chunk.form, results.errors)
    job.writes.write({f"{PARTS}/{part.name('.npz')}": packed({_KEPT: images, **results.columns})})
    return Report(len(chunk.names), errors)


def assemble(job: Job, finished: Finished) -> Report:
    """Writes the file out of its parts, which go."""
    parts, rows = collect(job, finished)
    if parts:
        images = rows.pop(_KEPT)
        others = renamed([name for name in finished.beside["beside"] if name != finished.beside["column"]])
        kept = {new: finished.beside["beside"][name] for name, new in others.items()}
        job.writes.write({finished.file: packed({**kept, finished.beside["column"]: images, **rows})})
    close(job, finished, parts)
    return Report(0)


def collect(job: Job, finished: Finished) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """(names, joined arrays) of a file's parts in the order of their rows; DataError where some are missing."""
    mine = [(part, entry.name) for part, entry in _parts(job, finished)]
    mine.sort(key=lambda pair: pair[0].start or 0)
    if sum(part.rows for part, _ in mine) != finished.rows:
        raise DataError(f"{job.output}: parts of {finished.file} are missing, expected {finished.rows} rows; run again")
    columns: dict[str, list[NDArray[Any]]] = {}
    for _, name in mine:
        with np.load(io.BytesIO(job.writes.read(name, MAX_PART_BYTES)), allow_pickle=False) as part:
            for column in part.files:
                columns.setdefault(column, []).append(part[column])
    return [name for _, name in mine], {column: np.concatenate(arrays) for column, arrays in columns.items()}


def close(job: Job, finished: Finished, parts: list[str]) -> None:
    """Notes that a file is finished, then removes its parts."""
    errors = sum(part.errors for name in parts if (part := Part.named(name)) is not None)
    whole = Part(digest([finished.file]), finished.stamp, None, finished.rows, errors)
    job.writes.write({f"{PARTS}/{whole.name('.json')}": b"{}\n"})
    job.writes.remove(parts)


def packed(arrays: dict[str, NDArray[Any]]) -> bytes:
    """An .npz file."""
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]  # names are the arrays', not settings
    return data.getvalue()


def _parts(job: Job, finished: Finished) -> Iterator[tuple[Part, Entry]]:
    of = digest([finished.file])
    for entry in job.writes.files(PARTS):
        part = Part.named(entry.name)
        if part is not None and part.of == of and part.start is not None:
            yield part, entry


def _column(arrays: dict[str, NDArray[Any]], asked: str, file: str) -> str:
    """The array of images: the one asked for, or the only one that can be."""
    fit = [name for name, array in arrays.items() if array.ndim in _IMAGE_DIMENSIONS and len(array)]
    usual = [name for name in _USUAL if name in fit]
    if asked in arrays if asked else (usual or len(fit) == 1):
        return asked or (usual or fit)[0]
    raise DataError(
        f"{file}: got arrays {', '.join(sorted(arrays)) or 'none'}, expected {asked or 'one of images'}; name it with "
        "--column"
    )
