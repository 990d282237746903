"""Parquet tables: a data set of part files with the same columns, images purified, and the results beside them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from puvae_rt.data.images import MAX_PIXELS
from puvae_rt.errors import DataError
from puvae_rt.purify.batch import Results, renamed
from puvae_rt.purify.chunks import Chunk, Items
from puvae_rt.purify.job import Done, Job, Part, Report, Task, digest
from puvae_rt.purify.places import Entry
from puvae_rt.purify.rows import CHANNELS_LAST, FILE, Form, Inputs, form_of, to_form, to_inputs
from puvae_rt.refusal import printable
from puvae_rt.runtime.purifier import Purifier

ROW = "row"  # the column of identities
TASK_BATCHES = 8  # a task is row groups of at least so many chunks: what one worker does at a time
STEP_BYTES = 32 << 20  # of rows decoded at once
_STRUCT_BYTES = "bytes"  # a field of an image's struct, as Hugging Face writes them


def plan(job: Job, entries: list[Entry], done: Done) -> Iterator[Task]:
    """Runs of row groups that are not done. A file that cannot be read is a task, whose work says so.

    Raises:
        ContractError: a file was changed since its results were written.
    """
    for entry in entries:
        starts = {part.start for part in done.of(entry) if part.start is not None}
        try:
            bounds: list[tuple[int, int | None]] = list(_bounds(job, entry.name))
        except (pa.ArrowException, OSError):
            bounds = [(0, None)]
        for start, stop in bounds:
            chunks = set(range(start, start + 1 if stop is None else stop, job.batch))
            if not chunks <= starts:
                yield Task((entry.name,), (entry.stamp,), start, stop, tuple(sorted(chunks & starts)))


def load(job: Job, task: Task, purifier: Purifier) -> Items:
    """The chunks of a task that are not done; DataError where the file is damaged or has no images."""
    name, stamp, start = task.files[0], task.stamps[0], task.start
    try:
        with job.reads.open(name) as file:
            table = pq.ParquetFile(file)
            groups, start = _groups(table, task)
            column = _column(table.schema_arrow, job.column, name)
            for tables in _chunks(table, groups, job.batch):
                count = sum(len(each) for each in tables)
                if start not in task.done:
                    yield _chunk(tables, column, purifier, name, stamp, start)
                start += count
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{name}: no readable Parquet ({printable(error)}), expected a table; write it again"
        ) from error


def write(job: Job, chunk: Chunk, results: Results) -> Report:
    """Writes the part of a chunk."""
    errors = tuple((name, error) for name, error in zip(chunk.names, results.errors, strict=True) if error)
    part = Part(digest([chunk.file]), chunk.stamp, chunk.start, len(chunk.names), len(errors))
    beside: pa.Table = chunk.beside["table"]
    new = renamed(beside.column_names)
    table = beside.rename_columns([new[name] for name in beside.column_names])
    images = to_form(results.images, chunk.form, results.errors)
    table = table.append_column(chunk.beside["column"], _column_of(images, chunk.beside["type"]))
    for name, values in results.columns.items():
        table = table.append_column(name, pa.array(values, from_pandas=True))
    if ROW not in table.column_names:
        table = table.append_column(ROW, pa.array(chunk.names))
    data = io.BytesIO()
    pq.write_table(table, data)
    job.writes.write({part.name(".parquet"): data.getvalue()})
    return Report(len(chunk.names), errors)


def _bounds(job: Job, name: str) -> Iterator[tuple[int, int | None]]:
    """(first row, row behind the last) of each run of row groups."""
    with job.reads.open(name) as file:
        metadata = pq.ParquetFile(file).metadata
    start = stop = 0
    for group in range(metadata.num_row_groups):
        stop += metadata.row_group(group).num_rows
        if stop - start >= TASK_BATCHES * job.batch:
            yield start, stop
            start = stop
    if stop > start:
        yield start, stop


def _groups(table: pq.ParquetFile, task: Task) -> tuple[list[int], int]:
    """The row groups of a task, and its first row."""
    groups, first = [], 0
    for group in range(table.metadata.num_row_groups):
        if task.start <= first and (task.stop is None or first < task.stop):
            groups.append(group)
        first += table.metadata.row_group(group).num_rows
    return groups, task.start


def _chunks(file: pq.ParquetFile, groups: list[int], size: int) -> Iterator[list[pa.RecordBatch]]:
    """Lists of record batches with `size` rows together; few rows are decoded at once where they are large."""
    counts = [file.metadata.row_group(group) for group in groups]
    rows, volume = sum(group.num_rows for group in counts), sum(group.total_byte_size for group in counts)
    step = max(1, min(size, STEP_BYTES * max(rows, 1) // max(volume, 1)))
    waiting: list[pa.RecordBatch] = []
    missing = size
    for batch in file.iter_batches(step, row_groups=groups):
        while len(batch):
            taken = batch.slice(0, missing)
            waiting.append(taken)
            missing -= len(taken)
            batch = batch.slice(len(taken))
            if not missing:
                yield waiting
                waiting, missing = [], size
    if waiting:
        yield waiting


def _chunk(tables: list[pa.RecordBatch], column: str, purifier: Purifier, name: str, stamp: str, start: int) -> Chunk:
    keys = [f"{name}#{row}" for row in range(start, start + sum(map(len, tables)))]
    kind = tables[0].schema.field(column).type
    files = pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    inputs, form, place = [], Form(FILE if files else CHANNELS_LAST), 0
    for batch in tables:
        values = _values(batch.column(column), kind, name)
        if not files and any(value is not None for value in values):
            form = form_of(values)
        inputs.append(to_inputs(values, purifier.contract, keys[place : place + len(batch)]))
        place += len(batch)
    problems = [problem for each in inputs for problem in each.problems]
    joined = Inputs(np.concatenate([each.images for each in inputs]), problems)
    beside = pa.Table.from_batches(tables).drop_columns([column])
    return Chunk(name, stamp, start, keys, joined, form, {"table": beside, "column": column, "type": kind})


def _values(array: pa.Array, kind: pa.DataType, name: str) -> Any:
    """A column's images: bytes, or arrays; None where there is none."""
    if pa.types.is_struct(kind):
        array = array.field(_STRUCT_BYTES)
    elif isinstance(kind, pa.FixedShapeTensorType):
        if int(np.prod(kind.shape)) > 3 * MAX_PIXELS:
            raise DataError(f"{name}: tensors of {kind.shape}, expected images of at most {MAX_PIXELS} pixels")
        if not array.null_count:
            return array.to_numpy_ndarray()
        shape, flat = tuple(kind.shape), array.storage.to_pylist()
        return [
            None if row is None else np.array(row, kind.value_type.to_pandas_dtype()).reshape(shape) for row in flat
        ]
    if not _is_list(array.type):
        return array.to_pylist()
    innermost = array.type
    while _is_list(innermost):
        innermost = innermost.value_type
    dtype = innermost.to_pandas_dtype()
    return [_nested(row, dtype) for row in array.to_pylist()]


def _nested(row: Any, dtype: Any) -> Any:
    """A nested list as an array; one that is ragged becomes None, which is told as a broken row."""
    try:
        return None if row is None else np.array(row, dtype)
    except (ValueError, TypeError, OverflowError):
        return None


def _column_of(images: Any, kind: pa.DataType) -> pa.Array:
    """Purified images as a column of the kind that they were read from."""
    if images.dtype == object:
        files = pa.array(images.tolist(), pa.binary())
        if not pa.types.is_struct(kind):
            return files
        return pa.StructArray.from_arrays([files, pa.nulls(len(files), pa.string())], [_STRUCT_BYTES, "path"])
    if isinstance(kind, pa.FixedShapeTensorType):
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(images))
    return pa.array(images.tolist(), _list_of(images.ndim - 1, pa.from_numpy_dtype(images.dtype)))


def _list_of(depth: int, value: pa.DataType) -> pa.DataType:
    return value if not depth else pa.list_(_list_of(depth - 1, value))


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _column(schema: pa.Schema, asked: str, file: str) -> str:
    """The column of images: the one asked for, `image`, or the only one that can be."""
    fit = [field.name for field in schema if _holds_images(field.type)]
    usual = [name for name in ("image", "images") if name in fit]
    if asked in fit if asked else (usual or len(fit) == 1):
        return asked or (usual or fit)[0]
    raise DataError(
        f"{file}: got columns {', '.join(schema.names)}, expected {asked or 'one'} of image files' bytes or of uint8 "
        "or float tensors; name it with --column"
    )


def _holds_images(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index(_STRUCT_BYTES) >= 0)
    nested = _is_list(kind) and _is_list(kind.value_type)
    files = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return bool(files or nested or isinstance(kind, pa.FixedShapeTensorType))
