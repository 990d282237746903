"""Reads ONNX models from outside: within limits, regular files only, and no data from outside the model's folder."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TensorProto, helper

from puvae_rt.errors import BuildError, FileError, PuvaeError
from puvae_rt.files import open_regular, read_bytes

MAX_ONNX_BYTES = 1 << 30  # of a model, its external data included
REMEDY = "export the model again, as one .onnx file"


def read_onnx(
    path: Path, *, remedy: str = REMEDY, error: type[PuvaeError] = BuildError, one_file: bool = True, check: bool = True
) -> ModelProto:
    """An ONNX model with all of its weights in it.

    Args:
        path: a regular file of at most MAX_ONNX_BYTES.
        remedy: how to mend a file that is refused.
        error: what is raised then.
        one_file: refuse weights in other files; otherwise they may lie in the model's folder, and are read.
        check: with ONNX's own checker, which knows its standard operators only.
    Raises:
        PuvaeError: an `error` that names the file, or the file of its weights.
    """
    model = load(path, remedy=remedy, error=error)
    locations = external_files(model)
    if locations and one_file:
        raise error(f"{path}: keeps its weights in {', '.join(locations)}, expected one file; {remedy}")
    try:
        _take_in(model, path, MAX_ONNX_BYTES - model.ByteSize())
    except (FileError, ValueError, KeyError) as refused:  # KeyError: a type that ONNX does not have
        raise error(f"{path}: its weights in {', '.join(locations)}: {refused}; {remedy}") from refused
    if check:
        check_sound(model, path, remedy=remedy, error=error)
    return model


def load(path: Path, *, remedy: str = REMEDY, error: type[PuvaeError] = BuildError) -> ModelProto:
    """The model in one file, unchecked; weights in other files stay there."""
    try:
        return onnx.load_model_from_string(read_bytes(path, MAX_ONNX_BYTES))
    except FileError as refused:
        raise error(f"{refused}; {remedy}") from refused
    except Exception as refused:  # of protobuf: no common base
        raise error(f"{path}: not an ONNX model ({_first_line(refused)}); {remedy}") from refused


def check_sound(model: ModelProto, path: Path, *, remedy: str = REMEDY, error: type[PuvaeError] = BuildError) -> None:
    """Raises an `error` for a model that ONNX's own checker refuses, or whose shapes do not fit together."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as refused:  # of the checker and the shape inference: no common base
        raise error(f"{path}: not a sound ONNX model ({_first_line(refused)}); {remedy}") from refused


def external_files(model: ModelProto) -> list[str]:
    """Names of the files beside a model that hold some of its tensors."""
    return sorted({_said(tensor).get("location", "") for tensor in _tensors(model) if _is_external(tensor)})


def _take_in(model: ModelProto, path: Path, room: int) -> None:
    """Reads external data of at most `room` bytes into the model; ValueError for a tensor that it does not fit."""
    for tensor in _tensors(model):
        if not _is_external(tensor):
            continue
        said = _said(tensor)
        offset, length = int(said.get("offset", 0)), int(said.get("length", _size(tensor)))
        room -= length
        if offset < 0 or length < 0 or room < 0:
            raise ValueError(f"{tensor.name!r}: {length} bytes at {offset}, expected at most {MAX_ONNX_BYTES} in all")
        with open_regular(path.parent / said.get("location", ""), MAX_ONNX_BYTES, within=path.parent) as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise ValueError(f"{tensor.name!r}: got {len(data)} bytes at {offset}, expected {length}")
        tensor.raw_data = data
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


def _is_external(tensor: TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _said(tensor: TensorProto) -> dict[str, str]:
    """Where a tensor says that its data is: location, and perhaps offset and length."""
    return {entry.key: entry.value for entry in tensor.external_data}


def _size(tensor: TensorProto) -> int:
    """Bytes of a tensor by its type and sides."""
    return int(prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: weights, constants, those of graphs within nodes and of functions."""
    pending: list[Any] = [model.graph, *model.functions]
    while pending:
        part = pending.pop()
        yield from getattr(part, "initializer", ())
        sparse = list(getattr(part, "sparse_initializer", ()))
        for attribute in (attribute for node in part.node for attribute in node.attribute):
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
            pending += [attribute.g, *attribute.graphs]
        for tensor in sparse:
            yield from (tensor.values, tensor.indices)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
