"""ONNX files: written with our description, and read as untrusted input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, helper

from puvae_rt.contract import IMAGE, NOISE
from puvae_rt.errors import BuildError
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import BATCH, OPSET, Graph, Tensor
from puvae_rt.graph.passes.shortlist import SHORTLIST
from puvae_rt.graph.prior import LOG_P
from puvae_rt.graph.selection import selection_outputs
from puvae_rt.models.spec import LATENT
from puvae_rt.onnx_io import check_sound, read_onnx

MAX_NODES = 1000
_REMEDY = "give an .onnx that `puvae build` or `puvae pack` wrote"


def write_onnx(path: Path, graph: Graph, description: Description) -> None:
    """Write a graph with its description to an .onnx file."""
    path.write_bytes(graph.to_model(description.to_metadata()).SerializeToString())


def read_puvae(path: Path) -> tuple[Graph, Description]:
    """A whole PuVAE graph (image -> purified, label, rmse, score) and its description; BuildError for anything else."""
    model = read_model(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    description = Description.from_metadata(metadata, str(path))
    graph = Graph.from_model(model)
    _check_tensors(path, graph.inputs, contract_inputs(description))
    _check_tensors(path, graph.outputs, selection_outputs(description.contract, len(description.classes)))
    graph.kept = (LOG_P,) if description.shortlist is not None and SHORTLIST not in description.passes else ()
    return graph, description


def read_model(path: Path) -> ModelProto:
    """A checked, self-contained model of plain operators; nothing outside the file is read."""
    model = read_onnx(path, remedy=_REMEDY, check=False)
    _check_plain(path, model)
    check_sound(model, path, remedy=_REMEDY)
    return model


def contract_inputs(description: Description) -> list[Tensor]:
    """The inputs that a graph with this description takes: `image`, and `noise` when it samples."""
    inputs = [Tensor(IMAGE, np.float32, (BATCH, *description.contract.shape))]
    if description.sigma > 0:
        inputs.append(Tensor(NOISE, np.float32, (BATCH, len(description.classes), LATENT)))
    return inputs


def _check_plain(path: Path, model: ModelProto) -> None:
    """No functions, subgraphs or custom operators."""
    graph = model.graph
    if len(graph.node) > MAX_NODES or model.functions or graph.sparse_initializer:
        raise BuildError(f"{path}: {len(graph.node)} nodes, functions or sparse data; {_REMEDY}")
    for node in graph.node:
        if node.domain or any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise BuildError(f"{path}: node {node.name!r} is custom or holds a graph; {_REMEDY}")
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": OPSET}:
        raise BuildError(f"{path}: operator sets {opsets}, expected {OPSET}; {_REMEDY}")


def _check_tensors(path: Path, got: list[Tensor], expected: list[Tensor]) -> None:
    if [_signature(tensor) for tensor in got] != [_signature(tensor) for tensor in expected]:
        raise BuildError(f"{path}: tensors {_show(got)}, expected {_show(expected)}; {_REMEDY}")


def _signature(tensor: Tensor) -> tuple[object, ...]:
    free_batch = tuple(-1 if isinstance(side, str) else side for side in tensor.shape)
    return tensor.name, helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), free_batch


def _show(tensors: list[Tensor]) -> str:
    return ", ".join(f"{t.name} {np.dtype(t.dtype).name}{list(t.shape)}" for t in tensors) or "none"
